#include "tests/server/prefix_rig.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace chela::test_support {

void ExpectSameBits(const PrefixAnswer& got, const PrefixAnswer& want) {
  ASSERT_EQ(got.sampled.size(), want.sampled.size());
  for (size_t i = 0; i < got.sampled.size(); ++i) {
    const SampledToken& a = got.sampled[i];
    const SampledToken& b = want.sampled[i];
    ASSERT_EQ(a.token, b.token) << i;
    ASSERT_EQ(std::memcmp(&a.logprob, &b.logprob, sizeof(float)), 0) << i;
    ASSERT_EQ(a.top.size(), 20);
    ASSERT_EQ(b.top.size(), 20);
    for (size_t k = 0; k < a.top.size(); ++k) {
      ASSERT_EQ(a.top[k].token, b.top[k].token);
      ASSERT_EQ(
          std::memcmp(&a.top[k].logprob, &b.top[k].logprob, sizeof(float)), 0);
    }
  }
  EXPECT_EQ(got.end.reason, want.end.reason);
}

GenerateJob JobOf(Tokens prompt, uint32_t seed) {
  const Listener unused;
  GenerateJob job = Job(unused, 1, 5, seed);
  job.prompt = std::move(prompt);
  job.sampling.logprobs = 20;
  return job;
}

PrefixAnswer RunToEnd(Rig& rig, GenerateJob job) {
  Listener listener;
  job.stream = listener.stream();
  const absl::Status submitted = rig.engine->Submit(std::move(job));
  EXPECT_TRUE(submitted.ok()) << submitted;
  PrefixAnswer answer;
  if (submitted.ok()) answer.end = listener.Wait();
  answer.sampled = listener.sampled();
  return answer;
}

Tokens PromptOf(int32_t shared, int32_t size, uint32_t tail) {
  Tokens tokens = Prompt(shared, 1);
  for (const int32_t token : Prompt(size - shared + 1, 100 + tail)) {
    if (token != 256) tokens.push_back(token);
  }
  // Parts right there, not by chance later.
  if (size > shared) tokens[shared] = static_cast<int32_t>(tail);
  return tokens;
}

}  // namespace chela::test_support
