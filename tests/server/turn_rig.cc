#include "tests/server/turn_rig.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace chela::test_support {

SamplingParams LookingBack(int32_t window) {
  SamplingParams params;
  params.temperature = 0.9;
  params.top_p = 0.95;
  params.repetition_penalty = 1.3;
  params.presence_penalty = 0.4;
  params.frequency_penalty = 0.3;
  params.penalty_window = window;
  params.seed = 11;
  return params;
}

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

GenerateJob TurnJob(SequenceStatePtr start, Tokens prompt, int32_t max_tokens,
                    const SamplingParams& sampling) {
  GenerateJob job;
  job.header.id = "turn";
  job.start = std::move(start);
  job.keep_state = true;
  job.prompt = std::move(prompt);
  job.max_tokens = max_tokens;
  job.sampling = sampling;
  job.ignore_eos = true;
  return job;
}

TurnAnswer RunTurn(Rig& rig, GenerateJob job) {
  job.stream = std::make_shared<TokenStream>();
  const auto stream = job.stream;
  const absl::Status submitted = rig.engine->Submit(std::move(job));
  EXPECT_TRUE(submitted.ok()) << submitted;
  TurnAnswer answer;
  if (!submitted.ok()) return answer;
  EXPECT_TRUE(Eventually([&] {
    for (GenerationDelta delta = stream->Pop(); !delta.empty();
         delta = stream->Pop()) {
      answer.text += delta.text;
      for (const SampledToken& one : delta.tokens) {
        answer.tokens.push_back(one.token);
      }
      for (SampledToken& one : delta.prompt) answer.prompt.push_back(one);
    }
    return stream->End().has_value();
  }));
  answer.end = stream->End().value_or(GenerationEnd());
  EXPECT_TRUE(answer.end.status.ok()) << answer.end.status;
  answer.state = answer.end.state;
  return answer;
}

namespace {

// All but the floats.
void ExpectSameTokens(const SequenceState& got, const SequenceState& want) {
  EXPECT_EQ(got.position, want.position);
  EXPECT_EQ(got.pending, want.pending);
  EXPECT_EQ(got.token_hash, want.token_hash);
  EXPECT_EQ(got.sampler, want.sampler);
  EXPECT_EQ(got.text, want.text);
}

double RelativeL2(std::span<const float> got, std::span<const float> want) {
  double off = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(off / size);
}

std::vector<float> Floats(const std::vector<std::byte>& bytes) {
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

}  // namespace

void ExpectSameText(const SequenceState& got, const SequenceState& want) {
  if (!OnGpu()) {
    ExpectSameState(got, want);
    return;
  }
  ExpectSameTokens(got, want);
  ASSERT_EQ(got.logits.size(), want.logits.size());
  EXPECT_LE(RelativeL2(got.logits, want.logits), kOtherPieces);
  ASSERT_EQ(got.state.size(), want.state.size());
  EXPECT_LE(RelativeL2(Floats(got.state), Floats(want.state)), kOtherPieces);
}

void ExpectSameState(const SequenceState& got, const SequenceState& want) {
  ExpectSameTokens(got, want);
  ASSERT_EQ(got.logits.size(), want.logits.size());
  EXPECT_EQ(0, std::memcmp(got.logits.data(), want.logits.data(),
                           want.logits.size() * sizeof(float)));
  ASSERT_EQ(got.state.size(), want.state.size());
  EXPECT_EQ(
      0, std::memcmp(got.state.data(), want.state.data(), want.state.size()));
}

}  // namespace chela::test_support
