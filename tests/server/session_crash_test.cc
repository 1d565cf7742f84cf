// kill -9 at any moment: what was acknowledged is there, whole, and nothing
// else. CHELA_CRASH_ROUNDS sets how often (25).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/session/snapshot.h"
#include "tests/integration/process.h"
#include "tests/server/session_states.h"
#include "tests/server/store_medium.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using test_support::CrashModel;
using test_support::MakeStoreMedium;
using test_support::RandomState;
using test_support::SameState;
using test_support::StoreMedium;

constexpr uint64_t kNothing = 0;  // no seed

// What a session may be after a kill: one of these states, whose seeds count
// up. Of a checkpoint likewise; kNothing: it may not be there.
struct Allowed {
  std::set<uint64_t> newest = {kNothing};
  uint64_t acknowledged = kNothing;
  int64_t revision = 0;
  std::map<std::string, std::set<uint64_t>> checkpoints;
  bool must_exist = false;
};

// What the driver has said so far.
class Journal {
 public:
  void Add(const std::string& output) {
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) AddLine(line);
  }
  std::map<std::string, Allowed>& sessions() { return sessions_; }
  int acknowledged() const { return acknowledged_; }

 private:
  void AddLine(const std::string& line) {
    std::istringstream words(line);
    std::string what, id, checkpoint;
    uint64_t seed = 0;
    int64_t revision = 0;
    words >> what >> id;
    Allowed& allowed = sessions_[id];
    if (what == "turn" || what == "fork") {
      words >> seed >> checkpoint;
      allowed.newest.insert(seed);
      if (what == "turn" && checkpoint != "-") {
        std::set<uint64_t>& seeds = allowed.checkpoints[checkpoint];
        if (seeds.empty()) seeds.insert(kNothing);
        seeds.insert(seed);
      }
    } else if (what == "committed") {
      words >> revision >> seed >> checkpoint;
      ++acknowledged_;
      EXPECT_GT(revision, allowed.revision) << line;
      allowed.revision = revision;
      Acknowledge(allowed, seed);
      if (checkpoint != "-") allowed.checkpoints[checkpoint] = {seed};
    } else if (what == "forked") {
      words >> seed;
      Acknowledge(allowed, seed);
    } else if (what == "delete") {
      allowed.must_exist = false;
    } else if (what == "deleted") {
      allowed = Allowed();
    } else {
      ADD_FAILURE() << "the driver said " << line;
    }
  }
  static void Acknowledge(Allowed& allowed, uint64_t seed) {
    allowed.newest = {seed};
    allowed.acknowledged = seed;
    allowed.must_exist = true;
  }

  std::map<std::string, Allowed> sessions_;
  int acknowledged_ = 0;
};

class SessionCrashTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The seed of a stored state; fails unless it is one of `allowed` and whole.
  uint64_t Identify(SnapshotStore& store, const std::string& id,
                    const KeptState& kept, const std::set<uint64_t>& allowed) {
    if (kept.key == 0) {
      EXPECT_EQ(allowed.count(kNothing), 1u) << id << " is empty";
      return kNothing;
    }
    const auto bytes = store.Read(id, kept);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    if (!bytes.ok()) return kNothing;
    const auto state = DecodeSnapshot(*bytes, CrashModel());
    EXPECT_TRUE(state.ok()) << state.status();
    if (!state.ok()) return kNothing;
    for (const uint64_t seed : allowed) {
      if (seed != kNothing &&
          SameState(**state, RandomState(CrashModel(), seed))) {
        return seed;
      }
    }
    ADD_FAILURE() << id << " has a state that it can't have";
    return kNothing;
  }

  void CheckSession(SnapshotStore& store, const SessionRecord& record,
                    Allowed& allowed) {
    const uint64_t newest =
        Identify(store, record.id, record.newest().state, allowed.newest);
    EXPECT_GE(record.newest().number, allowed.revision);
    // A turn that ended without its acknowledgement stands behind the one that
    // was acknowledged last.
    if (newest != allowed.acknowledged && record.revisions.size() > 1) {
      Identify(store, record.id, record.revisions[1].state,
               {allowed.acknowledged});
    }
    allowed.newest = {newest};
    allowed.acknowledged = newest;
    allowed.revision = record.newest().number;
    for (auto& [name, seeds] : allowed.checkpoints) {
      const auto kept = record.checkpoints.find(name);
      if (kept == record.checkpoints.end()) {
        EXPECT_EQ(seeds.count(kNothing), 1u) << record.id << ": no " << name;
        seeds = {kNothing};
        continue;
      }
      seeds = {Identify(store, record.id, kept->second, seeds)};
    }
  }

  // Everything that is stored is what was said, and nothing else is stored.
  void CheckStore() {
    auto store = medium_->Open();
    ASSERT_TRUE(store.ok()) << store.status();
    const auto contents = (*store)->Load();
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_TRUE(contents->damaged.empty());
    size_t items = 0;
    std::set<std::string> found;
    for (const SessionRecord& record : contents->sessions) {
      found.insert(record.id);
      items += medium_->ItemsOfASession() + record.Keys().size();
      CheckSession(**store, record, journal_.sessions()[record.id]);
    }
    EXPECT_EQ(medium_->Items(), items) << "something was left behind";
    for (auto& [id, allowed] : journal_.sessions()) {
      if (found.count(id) > 0) {
        // An empty one was made by a line that says nothing.
        allowed.must_exist = true;
        continue;
      }
      EXPECT_FALSE(allowed.must_exist) << id << " is lost";
      allowed = Allowed();
    }
  }

  std::unique_ptr<StoreMedium> medium_;
  Journal journal_;
};

INSTANTIATE_TEST_SUITE_P(Folder, SessionCrashTest, ::testing::Values("folder"));
INSTANTIATE_TEST_SUITE_P(Redis, SessionCrashTest, ::testing::Values("redis"));

TEST_P(SessionCrashTest, LosesNoAcknowledgedTurn) {
  medium_ = MakeStoreMedium(GetParam());
  if (medium_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " here";
  const char* const rounds_text = std::getenv("CHELA_CRASH_ROUNDS");
  const int rounds = rounds_text == nullptr ? 25 : std::atoi(rounds_text);
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    Process driver(CHELA_CRASH_DRIVER,
                   {medium_->Where(), std::to_string(1 + 1000000 * round)});
    // From before it has opened the store to some turns later.
    std::this_thread::sleep_for(milliseconds(random() % 250));
    driver.Signal(SIGKILL);
    EXPECT_EQ(driver.Wait(), -1) << driver.error();
    journal_.Add(driver.output());
    CheckStore();
  }
  std::cout << rounds << " kills, " << journal_.acknowledged()
            << " acknowledged turns\n";
  EXPECT_GT(journal_.acknowledged(), rounds / 4);
}

}  // namespace
}  // namespace chela
