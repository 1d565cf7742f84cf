#include "tests/server/session_states.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/session/snapshot.h"

namespace chela::test_support {
namespace {

using Random = std::mt19937_64;

int64_t Draw(Random& random, int64_t below) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(below));
}

void FillFloats(Random& random, float* values, size_t count) {
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < count; ++i) values[i] = normal(random);
}

std::string RandomText(Random& random, int64_t size) {
  std::string text(static_cast<size_t>(size), '\0');
  for (char& c : text) c = static_cast<char>(Draw(random, 256));
  return text;
}

SamplerState RandomSampler(Random& random, int64_t tokens, int32_t vocab) {
  SamplerState sampler;
  sampler.seed = random();
  sampler.draws = Draw(random, tokens + 1);
  int64_t left = tokens;
  for (int32_t token = 0; token < vocab && left > 3; ++token) {
    if (Draw(random, 3) != 0) continue;
    const auto in_prompt = static_cast<int32_t>(Draw(random, 3));
    const auto generated = static_cast<int32_t>(Draw(random, 2));
    sampler.counts.push_back({token, in_prompt, generated});
    left -= in_prompt + generated;
  }
  for (int64_t i = Draw(random, std::min<int64_t>(tokens, 100)); i > 0; --i) {
    sampler.recent.push_back(
        {static_cast<int32_t>(Draw(random, vocab)), Draw(random, 2) != 0});
  }
  return sampler;
}

}  // namespace

SnapshotModel SmallSnapshotModel() {
  return {.fingerprint = "0123456789abcdef",
          .layout = "hierarchical f32 layers=1",
          .vocab = 40,
          .state_bytes = 96 * 4};
}

SnapshotModel CrashModel() {
  return {.fingerprint = "fedcba9876543210",
          .layout = "hierarchical f32 layers=2",
          .vocab = 1000,
          .state_bytes = 200000};
}

SequenceState RandomState(const SnapshotModel& model, uint64_t seed) {
  Random random(seed);
  SequenceState state;
  state.position = 1 + Draw(random, 5000);
  if (Draw(random, 4) != 0) {
    state.pending = static_cast<int32_t>(Draw(random, model.vocab));
  }
  state.token_hash = random();
  state.logits.resize(static_cast<size_t>(model.vocab));
  FillFloats(random, state.logits.data(), state.logits.size());
  std::vector<float> tensors(static_cast<size_t>(model.state_bytes) / 4);
  FillFloats(random, tensors.data(), tensors.size());
  state.state.resize(static_cast<size_t>(model.state_bytes));
  std::memcpy(state.state.data(), tensors.data(), state.state.size());
  state.sampler = RandomSampler(random, state.tokens(), model.vocab);
  state.text.cut = RandomText(random, Draw(random, 4));
  state.text.tail =
      RandomText(random, Draw(random, static_cast<int64_t>(kMaxTextTail) + 1));
  return state;
}

SequenceStatePtr RandomStatePtr(const SnapshotModel& model, uint64_t seed) {
  return std::make_shared<const SequenceState>(RandomState(model, seed));
}

std::string Encoded(const SequenceState& state, const SnapshotModel& model) {
  const absl::StatusOr<std::string> bytes = EncodeSnapshot(state, model);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

bool SameState(const SequenceState& a, const SequenceState& b) {
  const auto bits = [](const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  return a.position == b.position && a.pending == b.pending &&
         a.token_hash == b.token_hash && bits(a.logits) == bits(b.logits) &&
         a.state == b.state && a.sampler == b.sampler && a.text == b.text;
}

}  // namespace chela::test_support
