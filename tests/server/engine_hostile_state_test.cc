// States that no model made, as an import or a store may bring them: their
// values are not judged, so they must do no harm.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "tests/server/engine_rig.h"
#include "tests/server/turn_rig.h"

namespace chela {
namespace {

using test_support::Greedy;
using test_support::LookingBack;
using test_support::Prompt;
using test_support::Rig;
using test_support::RunTurn;
using test_support::TurnAnswer;
using test_support::TurnJob;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// `every` n-th value of `start` becomes `value`, in the state and the logits.
SequenceStatePtr Spoilt(const SequenceState& start, float value, size_t every) {
  auto spoilt = std::make_shared<SequenceState>(start);
  for (size_t at = 0; at < spoilt->logits.size(); at += every) {
    spoilt->logits[at] = value;
  }
  for (size_t at = 0; at + sizeof(value) <= spoilt->state.size();
       at += every * sizeof(value)) {
    std::memcpy(spoilt->state.data() + at, &value, sizeof(value));
  }
  return spoilt;
}

TEST(EngineHostileStateTest, EndsAndLeavesOthersAsTheyAre) {
  Rig rig({.slots = 4});
  const TurnAnswer begin =
      RunTurn(rig, TurnJob(nullptr, Prompt(40), 5, Greedy()));
  const TurnAnswer want =
      RunTurn(rig, TurnJob(begin.state, Prompt(10), 20, Greedy()));
  SamplingParams drawn = LookingBack(7);
  drawn.top_k = 5;
  drawn.top_p = 0.9;
  drawn.min_p = 0.01;
  drawn.logprobs = 20;
  SamplingParams typical = drawn;
  typical.typical_p = 0.5;
  for (const float value : {kNaN, kInfinity, -kInfinity, 3e38f}) {
    for (const size_t every : {1, 3}) {
      const SequenceStatePtr spoilt = Spoilt(*begin.state, value, every);
      for (const SamplingParams& sampling : {Greedy(), drawn, typical}) {
        SCOPED_TRACE(testing::Message() << value << " every " << every);
        // From the logits and from the state.
        for (const auto& prompt : {std::vector<int32_t>{}, Prompt(10)}) {
          auto fed = std::make_shared<SequenceState>(*spoilt);
          fed->pending.reset();
          const TurnAnswer got =
              RunTurn(rig, TurnJob(fed, prompt, 20, sampling));
          EXPECT_EQ(got.tokens.size(), 20);
          for (const int32_t token : got.tokens) {
            EXPECT_TRUE(token >= 0 && token < 258) << token;
          }
        }
      }
      const TurnAnswer other =
          RunTurn(rig, TurnJob(begin.state, Prompt(10), 20, Greedy()));
      EXPECT_EQ(other.tokens, want.tokens);
    }
  }
}

}  // namespace
}  // namespace chela
