// What a text that goes on may cost, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/sequence.h"
#include "tests/server/engine_rig.h"
#include "tests/server/turn_rig.h"

namespace chela {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

using test_support::Greedy;
using test_support::LookingBack;
using test_support::Prompt;
using test_support::Rig;
using test_support::RunTurn;
using test_support::TurnAnswer;
using test_support::TurnJob;
using ::testing::HasSubstr;

class EngineLongTurnsTest : public testing::TestWithParam<LongConvKind> {
 protected:
  Rig rig_{{.slots = 6, .kind = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Kinds, EngineLongTurnsTest,
                         testing::Values(LongConvKind::kHierarchical,
                                         LongConvKind::kExplicit),
                         [](const auto& param) {
                           return param.param == LongConvKind::kExplicit
                                      ? "Explicit"
                                      : "Hierarchical";
                         });

int64_t ResidentBytes() {
  int64_t pages = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// Turn after turn: neither memory nor the size of the state nor the time of a
// token grows with what lies behind.
TEST_P(EngineLongTurnsTest, ALongSessionCostsWhatAShortOneDoes) {
  constexpr int32_t kTurn = 1000;
  SamplingParams sampling = LookingBack(64);
  TurnAnswer turn = RunTurn(rig_, TurnJob(nullptr, Prompt(9), 0, sampling));
  std::vector<double> seconds;
  int64_t resident = 0;
  size_t recent = 0;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
  while (Clock::now() < end || seconds.size() < 30) {
    const Clock::time_point start = Clock::now();
    turn = RunTurn(rig_, TurnJob(turn.state, {}, kTurn, sampling));
    seconds.push_back(SecondsBetween(start, Clock::now()));
    recent = std::max(recent, turn.state->sampler.recent.size());
    if (seconds.size() == 10) resident = ResidentBytes();
  }
  EXPECT_EQ(turn.state->tokens(),
            9 + kTurn * static_cast<int64_t>(seconds.size()));
  EXPECT_EQ(recent, static_cast<size_t>(kMaxRecentTokens));
  EXPECT_LE(turn.state->sampler.counts.size(), 258u);
  // Room for the allocator; a byte a token and layer would be far above it.
  // Sanitizers keep what was freed.
  if (!kSanitized) {
    EXPECT_LT(ResidentBytes() - resident, 1 << 20);
  }
  const size_t third = seconds.size() / 3;
  // The fastest turns: others use the machine as well.
  EXPECT_LT(*std::min_element(seconds.end() - third, seconds.end()),
            3 * *std::min_element(seconds.begin(), seconds.begin() + third));
}

TEST_P(EngineLongTurnsTest, RefusesWhatCannotGoOn) {
  const TurnAnswer turn =
      RunTurn(rig_, TurnJob(nullptr, Prompt(4), 2, Greedy()));
  const auto refusal = [&](auto change) {
    GenerateJob job = TurnJob(turn.state, {65}, 1, Greedy());
    job.stream = std::make_shared<TokenStream>();
    change(job);
    const absl::Status status = rig_.engine->Submit(std::move(job));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal([](GenerateJob& job) { job.choices = job.best_of = 2; }),
              HasSubstr("best_of: 2"));
  EXPECT_THAT(
      refusal([](GenerateJob& job) { job.sampling.penalty_window = 8193; }),
      HasSubstr("penalty_window: 8193; want 0 to 8192"));
  EXPECT_THAT(refusal([](GenerateJob& job) {
                job.keep_state = false;
                job.max_tokens = 0;
              }),
              HasSubstr("max_tokens: 0; want 1 to"));
  const auto broken = [&](auto change) {
    SequenceState state = *turn.state;
    change(state);
    return refusal([&](GenerateJob& job) {
      job.start = std::make_shared<SequenceState>(std::move(state));
    });
  };
  for (const std::string& message :
       {broken([](SequenceState& s) { s.state.resize(7); }),
        broken([](SequenceState& s) { s.logits.resize(3); }),
        broken([](SequenceState& s) { s.position = 0; }),
        broken([](SequenceState& s) { s.position = INT64_MAX; })}) {
    EXPECT_THAT(message, HasSubstr("start: "));
  }
  for (const std::string& message :
       {broken([](SequenceState& s) { s.pending = 258; }),
        broken([](SequenceState& s) { s.sampler.counts.push_back({-1}); }),
        broken([](SequenceState& s) { s.sampler.recent.push_back({999}); })}) {
    EXPECT_THAT(message, HasSubstr("start.tokens["));
  }
}

}  // namespace
}  // namespace chela
