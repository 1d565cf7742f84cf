#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "server/engine/prefix_reader.h"
#include "tests/server/prefix_rig.h"

namespace chela {
namespace {

using test_support::ExpectSameBits;
using test_support::JobOf;
using test_support::kAmpleCache;
using test_support::PrefixAnswer;
using test_support::Prompt;
using test_support::PromptOf;
using test_support::Recorder;
using test_support::Rig;
using test_support::RigOptions;
using test_support::RunToEnd;
using test_support::Tokens;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(GridPointsTest, AreTheMultiplesAtOrBeforeThePoints) {
  EXPECT_THAT(GridPoints({300, 1000, 256, 255, 511, 5000}, 0, 1030),
              ElementsAre(256, 768, 1024));
  EXPECT_THAT(GridPoints({300, 1000}, 256, 1030), ElementsAre(768));
  EXPECT_THAT(GridPoints({512}, 0, 512), ElementsAre(512));
  EXPECT_THAT(GridPoints({255, 0}, 0, 255), IsEmpty());
}

struct Place {
  LongConvKind long_conv;
  int32_t slots;  // 1: states go to the host; more: into free slots
};

class PrefixCacheTest : public ::testing::TestWithParam<Place> {
 protected:
  RigOptions Options(int64_t bytes) const {
    RigOptions options;
    options.slots = GetParam().slots;
    options.kind = GetParam().long_conv;
    options.limits.prefix_cache_bytes = bytes;
    return options;
  }
};

// What an unbounded cache finds, by its definition.
class NaiveCache {
 public:
  // Tokens of `prompt` that need not be read; remembers it as read.
  int64_t Read(const Tokens& prompt) {
    const auto size = std::ssize(prompt);
    int64_t hit = (size - 1) / 256 * 256;
    while (hit > 0 && !states_.contains(First(prompt, hit))) hit -= 256;
    int64_t shared = 0;
    for (const Tokens& earlier : prompts_) {
      const auto parted = std::mismatch(prompt.begin(), prompt.end(),
                                        earlier.begin(), earlier.end());
      shared = std::max<int64_t>(shared, parted.first - prompt.begin());
    }
    for (const int64_t point : {shared / 256 * 256, size / 256 * 256}) {
      if (point > hit) states_.insert(First(prompt, point));
    }
    prompts_.push_back(prompt);
    return hit;
  }

 private:
  static Tokens First(const Tokens& tokens, int64_t count) {
    return Tokens(tokens.begin(), tokens.begin() + count);
  }
  std::vector<Tokens> prompts_;
  std::set<Tokens> states_;
};

TEST_P(PrefixCacheTest, AHitGivesTheBitsOfAMiss) {
  Rig plain(Options(0));
  Rig rig(Options(kAmpleCache));
  NaiveCache naive;
  int64_t hits = 0;
  for (const int32_t shared : {1024, 255, 256, 257, 511, 512, 700}) {
    for (const int32_t more : {1, 40, 300}) {
      for (uint32_t tail = 1; tail <= 3; ++tail) {
        SCOPED_TRACE(::testing::Message()
                     << shared << " + " << more << ", tail " << tail);
        const GenerateJob job =
            JobOf(PromptOf(shared, shared + more, tail), tail);
        Recorder recorder(*rig.backend);
        const PrefixAnswer got = RunToEnd(rig, job);
        EXPECT_EQ(got.cached(), naive.Read(job.prompt));
        EXPECT_EQ(recorder.rows(), shared + more - got.cached() + 4);
        EXPECT_EQ(got.end.usage.prompt_tokens, shared + more);
        ExpectSameBits(got, RunToEnd(plain, job));
        hits += got.cached() > 0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(hits, 30);
}

TEST_P(PrefixCacheTest, ThePromptThatPartsLeavesTheSharedStateForTheNext) {
  Rig plain(Options(0));
  Rig rig(Options(kAmpleCache));
  for (uint32_t tail = 1; tail <= 3; ++tail) {
    const GenerateJob job = JobOf(PromptOf(600, 1500, tail));
    const PrefixAnswer got = RunToEnd(rig, job);
    EXPECT_EQ(got.cached(), tail < 3 ? 0 : 512);
    ExpectSameBits(got, RunToEnd(plain, job));
  }
}

TEST_P(PrefixCacheTest, ANamedPointServesTheVeryNextPrompt) {
  Rig rig(Options(kAmpleCache));
  GenerateJob job = JobOf(PromptOf(600, 1500, 1));
  job.cache_at = {600, 300};
  EXPECT_EQ(RunToEnd(rig, job).cached(), 0);
  EXPECT_EQ(RunToEnd(rig, JobOf(PromptOf(600, 1500, 2))).cached(), 512);
  EXPECT_EQ(RunToEnd(rig, JobOf(PromptOf(300, 1500, 3))).cached(), 256);
}

TEST_P(PrefixCacheTest, NeverRestoresAtThePromptsEnd) {
  Rig plain(Options(0));
  for (const int32_t size : {256, 512, 513}) {
    Rig rig(Options(kAmpleCache));
    SCOPED_TRACE(size);
    const GenerateJob job = JobOf(Prompt(size));
    GenerateJob named = job;
    named.cache_at = {256, size};
    EXPECT_EQ(RunToEnd(rig, named).cached(), 0);
    for (int repeat = 0; repeat < 2; ++repeat) {
      const PrefixAnswer got = RunToEnd(rig, job);
      EXPECT_EQ(got.cached(), (size - 1) / 256 * 256);
      ExpectSameBits(got, RunToEnd(plain, job));
    }
    // The state at the end serves whoever goes on from there.
    Tokens longer = Prompt(size);
    longer.resize(size + 100, 65);
    EXPECT_EQ(RunToEnd(rig, JobOf(longer)).cached(), size / 256 * 256);
  }
}

TEST_P(PrefixCacheTest, SaltsShareNothing) {
  Rig rig(Options(kAmpleCache));
  GenerateJob job = JobOf(Prompt(600));
  const auto cached = [&](const std::string& salt) {
    job.cache_salt = salt;
    return RunToEnd(rig, job).cached();
  };
  EXPECT_EQ(cached("alice"), 0);
  EXPECT_EQ(cached("bob"), 0);
  EXPECT_EQ(cached(""), 0);
  EXPECT_EQ(cached("alice"), 512);
  EXPECT_EQ(cached("bob"), 512);
  EXPECT_EQ(cached(""), 512);
}

TEST_P(PrefixCacheTest, LogProbabilitiesOfThePromptReadAllOfItAndLeaveStates) {
  Rig plain(Options(0));
  Rig rig(Options(kAmpleCache));
  GenerateJob job = JobOf(Prompt(600));
  GenerateJob with_prompt = job;
  with_prompt.prompt_logprobs = 2;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Recorder recorder(*rig.backend);
    const PrefixAnswer got = RunToEnd(rig, with_prompt);
    EXPECT_EQ(got.cached(), 0);
    EXPECT_EQ(recorder.rows(), 600 + 4);
    ExpectSameBits(got, RunToEnd(plain, with_prompt));
  }
  EXPECT_EQ(rig.Metric("chela_prefix_cache_queries_total"), 0);
  EXPECT_EQ(RunToEnd(rig, job).cached(), 512);
}

TEST_P(PrefixCacheTest, CountsTokensNotRequests) {
  Rig rig(Options(kAmpleCache));
  const GenerateJob job = JobOf(Prompt(600));
  RunToEnd(rig, job);
  RunToEnd(rig, job);
  EXPECT_EQ(rig.Metric("chela_prompt_tokens_total"), 1200);
  EXPECT_EQ(rig.Metric("chela_cached_prompt_tokens_total"), 512);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_queries_total"), 1200);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_hits_total"), 512);
  EXPECT_GT(rig.Metric("chela_prefix_cache_bytes"), 512 * 4);
}

TEST_P(PrefixCacheTest, ABudgetOfZeroKeepsNothing) {
  Rig rig(Options(0));
  const GenerateJob job = JobOf(Prompt(600));
  RunToEnd(rig, job);
  EXPECT_EQ(RunToEnd(rig, job).cached(), 0);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_queries_total"), 0);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_bytes"), 0);
  EXPECT_EQ(rig.pool->free_slots(), GetParam().slots);
}

INSTANTIATE_TEST_SUITE_P(
    EveryKernelAndPlace, PrefixCacheTest,
    ::testing::Values(Place{LongConvKind::kHierarchical, 1},
                      Place{LongConvKind::kHierarchical, 64},
                      Place{LongConvKind::kExplicit, 1},
                      Place{LongConvKind::kExplicit, 64}),
    [](const auto& test) {
      return std::string(test.param.long_conv == LongConvKind::kExplicit
                             ? "Explicit"
                             : "Hierarchical") +
             (test.param.slots == 1 ? "OnTheHost" : "InSlots");
    });

}  // namespace
}  // namespace chela
