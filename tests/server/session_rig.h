#ifndef CHELA_TESTS_SERVER_SESSION_RIG_H_
#define CHELA_TESTS_SERVER_SESSION_RIG_H_

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/session/session_registry.h"
#include "tests/server/session_states.h"

namespace chela::test_support {

// A store whose contents outlive it, as a medium's do, and whose calls fail
// when the test says so.
struct FakeMedium {
  std::mutex mutex;
  std::map<std::string, std::string> records;
  std::map<std::pair<std::string, int64_t>, std::string> snapshots;
  // What Write, Read and Delete answer. A Write that fails has happened if
  // `writes_happen`.
  absl::Status write_status, read_status, drop_status, delete_status;
  bool writes_happen = false;
  std::function<void()> during_delete;  // without the mutex
  int reads = 0;
};

class FakeStore final : public SnapshotStore {
 public:
  explicit FakeStore(FakeMedium& medium) : medium_(medium) {}

  std::string Name() const override { return "fake"; }
  absl::StatusOr<Contents> Load() override;
  absl::Status Write(const SessionRecord& record,
                     const NewSnapshot* snapshot) override;
  absl::StatusOr<std::string> Read(const std::string& id,
                                   const KeptState& state) override;
  absl::Status Drop(const std::string& id,
                    const std::vector<int64_t>& keys) override;
  absl::Status Delete(const std::string& id) override;

 private:
  FakeMedium& medium_;
};

// A registry with a clock of its own, for both ways to keep sessions: in memory
// alone (false), or with a store (true).
class SessionTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { Open(); }

  // Opens the registry anew: after a restart, if it was open.
  void Open();
  bool has_store() const { return GetParam(); }

  SequenceStatePtr State(uint64_t seed) const {
    return RandomStatePtr(options_.model, seed);
  }
  // Commits a turn with State(seed); its revision, or -1.
  int64_t Turn(const std::string& id, uint64_t seed,
               const std::string& checkpoint = "",
               std::optional<int64_t> expected = std::nullopt);
  // The state that a turn would begin with; the turn is rolled back.
  SequenceStatePtr Start(const std::string& id,
                         std::optional<int64_t> expected = std::nullopt);
  absl::StatusCode StartCode(const std::string& id,
                             std::optional<int64_t> expected = std::nullopt);
  SessionInfo Create(const std::string& id, const std::string& user = "");

  std::chrono::system_clock::time_point now_ =
      std::chrono::system_clock::time_point(std::chrono::hours(500000));
  std::chrono::hours clock_error_{0};  // of the system's clock
  FakeMedium medium_;
  Metrics metrics_{"m"};
  RegistryOptions options_;
  std::unique_ptr<SessionRegistry> registry_;

  SessionTest() {
    options_.model = SmallSnapshotModel();
    options_.sweep_interval = {};
    options_.now = [this] { return now_ + clock_error_; };
    options_.steady_now = [this] {
      return std::chrono::steady_clock::time_point(now_.time_since_epoch());
    };
  }
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_SESSION_RIG_H_
