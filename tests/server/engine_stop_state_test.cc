// The kept state of a text that ended at a stop string: that of the tokens
// which end before the stop, whatever was fed after them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "models/utf8.h"
#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"
#include "tests/server/turn_rig.h"

namespace chela {
namespace {

using test_support::ExpectSameState;
using test_support::Listener;
using test_support::Prompt;
using test_support::Recorder;
using test_support::Rig;
using test_support::RunTurn;
using test_support::Tokens;
using test_support::TurnAnswer;

// Tokens of several bytes, halves of characters and none at all.
constexpr std::array<std::string_view, 12> kPieces = {"a",
                                                      "b",
                                                      "aa",
                                                      "ab",
                                                      "ba",
                                                      "aab",
                                                      "\xE2\x82",
                                                      "\xAC",
                                                      "\xE2\x82\xAC"
                                                      "a",
                                                      "",
                                                      "b\xE2",
                                                      "\x82\xAC"};

class PieceTokenizer : public Tokenizer {
 public:
  explicit PieceTokenizer(const ModelConfig& config) : Tokenizer(config) {}
  std::string kind() const override { return "pieces"; }
  std::vector<int32_t> Encode(std::string_view) const override { return {}; }
  std::vector<int32_t> EncodeContinuation(std::string_view) const override {
    return {};
  }
  size_t StablePrefix(std::string_view) const override { return 0; }
  std::string TokenBytes(int32_t id, bool) const override {
    return std::string(kPieces[static_cast<size_t>(id) % kPieces.size()]);
  }
  std::string TokenName(int32_t) const override { return ""; }
};

class EngineStopStateTest : public testing::Test {
 protected:
  EngineStopStateTest() {
    rig_.tokenizer = std::make_unique<PieceTokenizer>(rig_.model->config());
    rig_.engine = Engine::Start({}, rig_.Devices(), *rig_.tokenizer,
                                rig_.metrics, nullptr);
    job_.header.id = "stop";
    job_.keep_state = true;
    job_.prompt = Prompt(20);
    job_.max_tokens = 60;
    job_.ignore_eos = true;
    for (size_t i = 0; i < kPieces.size(); ++i) {
      job_.sampling.allowed_tokens.push_back(static_cast<int32_t>(i));
    }
  }

  // Whether token `index` ends before byte `stop` of the text, from scratch.
  bool EndsBefore(const Tokens& tokens, size_t index, size_t stop) const {
    std::string bytes;
    for (size_t i = 0; i <= index; ++i) {
      bytes += rig_.tokenizer->TokenBytes(tokens[i], false);
    }
    const size_t whole = CompleteUtf8Prefix(bytes);
    const size_t text = ToValidUtf8(bytes.substr(0, whole)).size();
    return whole == bytes.size() ? text <= stop : text < stop;
  }

  // The turn's state is that of its first tokens and nothing else.
  void ExpectKept(const GenerateJob& job, const TurnAnswer& answer,
                  size_t kept) {
    const int64_t begin = (job.start == nullptr ? 0 : job.start->tokens()) +
                          static_cast<int64_t>(job.prompt.size());
    ASSERT_NE(answer.state, nullptr);
    ASSERT_EQ(answer.state->tokens(), begin + static_cast<int64_t>(kept));
    GenerateJob other = job;
    other.stop.clear();
    other.max_tokens = static_cast<int32_t>(kept);
    TurnAnswer want = RunTurn(rig_, other);
    EXPECT_EQ(want.tokens,
              Tokens(answer.tokens.begin(), answer.tokens.begin() + kept));
    if (!answer.state->pending.has_value() && kept > 0) {
      other.start = want.state;
      other.prompt.clear();
      other.max_tokens = 0;
      want = RunTurn(rig_, other);
    }
    ExpectSameState(*answer.state, *want.state);
  }

  Rig rig_{{.slots = 4}, /*start=*/false};
  GenerateJob job_;
};

TEST_F(EngineStopStateTest, GoesBackToTheLastTokenThatEndsBeforeTheStop) {
  const std::vector<std::vector<std::string>> stops = {{"aab"},
                                                       {"b"},
                                                       {"a"},
                                                       {"\xE2\x82\xAC"},
                                                       {"aaaaaab"},
                                                       {"bb", "abaabab"},
                                                       {"aaaaaaaaaaaaa", "aab"},
                                                       {"a\xE2\x82\xAC"
                                                        "a"}};
  int stopped = 0;
  int inside = 0;
  int fed_again = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    job_.sampling.seed = seed;
    job_.stop = stops[seed % stops.size()];
    job_.sampling.min_tokens = seed % 3 == 0 ? 5 : 0;
    const Recorder recorder(*rig_.backend);
    const TurnAnswer answer = RunTurn(rig_, job_);
    const size_t used = recorder.steps().size();
    if (answer.end.reason == FinishReason::kLength) {
      ExpectKept(job_, answer, 60);
      continue;
    }
    ++stopped;
    ASSERT_EQ(answer.end.reason, FinishReason::kStop);
    const size_t stop = answer.text.size();
    size_t kept = answer.tokens.size() - 1;
    while (kept > 0 && !EndsBefore(answer.tokens, kept - 1, stop)) --kept;
    ExpectKept(job_, answer, kept);
    // What is missing of the text.
    std::string bytes;
    for (size_t i = 0; i < kept; ++i) {
      bytes += rig_.tokenizer->TokenBytes(answer.tokens[i], false);
    }
    const size_t whole = CompleteUtf8Prefix(bytes);
    const size_t kept_text = ToValidUtf8(bytes.substr(0, whole)).size();
    EXPECT_EQ(answer.end.usage.dropped_bytes, stop - kept_text);
    inside += stop != kept_text ? 1 : 0;
    fed_again += used > answer.tokens.size() ? 1 : 0;
  }
  // All of it happened.
  EXPECT_GT(stopped, 200);
  EXPECT_GT(inside, 30);
  EXPECT_GT(fed_again, 10);
}

TEST_F(EngineStopStateTest, AStopMayStartInTheTextThatGoesOn) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    job_.start = nullptr;
    job_.prompt = Prompt(20);
    job_.stop = {"aab", "abaa",
                 "\xE2\x82\xAC"
                 "b"};
    job_.max_tokens = 60;
    job_.sampling.seed = seed;
    const TurnAnswer whole = RunTurn(rig_, job_);
    job_.max_tokens = static_cast<int32_t>(1 + seed % 5);
    const TurnAnswer first = RunTurn(rig_, job_);
    if (first.end.reason == FinishReason::kStop) continue;
    job_.start = first.state;
    job_.prompt.clear();
    job_.max_tokens = 60 - job_.max_tokens;
    const TurnAnswer second = RunTurn(rig_, job_);
    Tokens tokens = first.tokens;
    tokens.insert(tokens.end(), second.tokens.begin(), second.tokens.end());
    EXPECT_EQ(tokens, whole.tokens);
    EXPECT_EQ(second.end.stop, whole.end.stop);
    if (whole.state->tokens() >= first.state->tokens()) {
      if (second.state->tokens() > first.state->tokens()) {
        ExpectSameState(*second.state, *whole.state);
      }
    } else {
      // What an earlier turn returned stays.
      ExpectKept(job_, second, 0);
    }
  }
}

TEST_F(EngineStopStateTest, KeepsTheStopIfItIsPartOfTheText) {
  job_.include_stop = true;
  job_.stop = {"aab"};
  for (uint64_t seed = 0; seed < 20; ++seed) {
    job_.sampling.seed = seed;
    const TurnAnswer answer = RunTurn(rig_, job_);
    EXPECT_EQ(answer.end.usage.dropped_bytes, 0);
    ExpectKept(job_, answer, answer.tokens.size());
  }
}

TEST_F(EngineStopStateTest, KeepsAStopTokenAsTheLastOne) {
  job_.stop_tokens = {1};
  job_.stop = {"aab"};
  int ended = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    job_.sampling.seed = seed;
    const TurnAnswer answer = RunTurn(rig_, job_);
    if (!answer.end.stop_token.has_value()) continue;
    ++ended;
    EXPECT_EQ(answer.state->pending, 1);
    GenerateJob same = job_;
    same.stop.clear();
    const TurnAnswer want = RunTurn(rig_, same);
    EXPECT_EQ(answer.tokens, want.tokens);
    ExpectSameState(*answer.state, *want.state);
  }
  EXPECT_GT(ended, 5);
}

TEST_F(EngineStopStateTest, BesideOthersItGoesBackToTheSameState) {
  job_.stop = {"aaaaaaaaaaaaa", "aab"};
  std::vector<TurnAnswer> alone;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    job_.sampling.seed = seed;
    alone.push_back(RunTurn(rig_, job_));
  }
  std::vector<Listener> listeners(12);
  for (uint64_t seed = 0; seed < 12; ++seed) {
    GenerateJob job = job_;
    job.sampling.seed = seed;
    job.stream = listeners[seed].stream();
    ASSERT_TRUE(rig_.engine->Submit(std::move(job)).ok());
  }
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const GenerationEnd end = listeners[seed].Wait();
    EXPECT_EQ(listeners[seed].tokens(), alone[seed].tokens);
    ASSERT_NE(end.state, nullptr);
    ExpectSameState(*end.state, *alone[seed].state);
  }
  EXPECT_EQ(rig_.engine->Load().slots_free, 4);
}

TEST_F(EngineStopStateTest, NeedsASecondSlot) {
  Rig small({.slots = 1});
  job_.stop = {"x"};
  job_.stream = std::make_shared<TokenStream>();
  EXPECT_EQ(small.engine->Submit(job_).code(),
            absl::StatusCode::kInvalidArgument);
  job_.include_stop = true;
  EXPECT_TRUE(small.engine->Submit(job_).ok());
}

}  // namespace
}  // namespace chela
