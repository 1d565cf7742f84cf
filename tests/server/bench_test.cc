#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/named_sizes.h"
#include "server/tools/bench/attention_bench.h"
#include "server/tools/bench/decode_row.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/read_ceiling.h"
#include "server/tools/bench/statistics.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {
namespace {

TEST(Percentile, IsASampleAtARankAndLinearBetweenRanks) {
  const std::vector<double> samples = {40, 10, 30, 20};
  EXPECT_EQ(Percentile(samples, 0), 10);
  EXPECT_EQ(Percentile(samples, 1), 40);
  EXPECT_EQ(Percentile(samples, 0.5), 25);
  EXPECT_DOUBLE_EQ(Percentile(samples, 0.9), 37);
  EXPECT_EQ(Percentile({7}, 0.99), 7);
}

TEST(Percentile, OfNothingIsZeroAndOfAnythingOutsideTheRangeIsAnEnd) {
  EXPECT_EQ(Percentile({}, 0.5), 0);
  EXPECT_EQ(Percentile({1, 2}, -1), 1);
  EXPECT_EQ(Percentile({1, 2}, 2), 2);
}

TEST(RecurringTail, DropsWhatDoesNotComeBackAtItsPhase) {
  std::vector<double> samples;
  std::vector<int64_t> phases;
  for (int period = 0; period < 3; ++period) {
    for (int phase = 0; phase < 50; ++phase) {
      // Phase 7 is slow each time, phase 20 was disturbed once.
      const bool once = phase == 20 && period == 1;
      samples.push_back(phase == 7 ? 3 : once ? 90 : 1);
      phases.push_back(phase);
    }
  }
  // The greatest of 50 medians is 3, the next 1: 0.51 of the way.
  EXPECT_NEAR(RecurringTail(samples, phases), 2.02, 1e-9);
  EXPECT_EQ(RecurringTail({}, {}), 0);
}

TEST(Spread, IsInconclusiveOnceQuartilesAreFivePercentApart) {
  const Spread close = Summarize({99, 100, 100, 100, 101});
  EXPECT_EQ(close.median, 100);
  EXPECT_EQ(close.min, 99);
  EXPECT_EQ(close.max, 101);
  EXPECT_TRUE(close.conclusive());
  EXPECT_FALSE(Summarize({90, 95, 100, 105, 110}).conclusive());
  EXPECT_FALSE(Summarize({}).conclusive());
}

// The table of named sizes in docs: megabytes of weights a step and of state
// traffic a token, as printed there (so within half of its last digit; state:
// two figures).
struct NamedBytes {
  const char* size;
  double weight_megabytes;
  double state_megabytes;
};

class StepBytesOfNamedSizes : public testing::TestWithParam<NamedBytes> {};

TEST_P(StepBytesOfNamedSizes, AgreeWithTheTable) {
  const NamedBytes& want = GetParam();
  const auto config = NamedSize(want.size, LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok()) << config.status();
  const StepBytes bytes(*config);
  // The table's weights leave out the embedding row of each sequence.
  const double row = 2.0 * config->hidden_size;
  EXPECT_NEAR((bytes.Weights(1, false) - row) / 1e6, want.weight_megabytes,
              0.05);
  EXPECT_NEAR(bytes.State() / 1e6, want.state_megabytes, 0.01);
  EXPECT_EQ(bytes.Period(), 512);
}

// State: attention and convolutions, each rounded to 0.01 in the table.
INSTANTIATE_TEST_SUITE_P(
    Table, StepBytesOfNamedSizes,
    testing::Values(NamedBytes{"31m", 62.5, 2.10 + 0.57},
                    NamedBytes{"125m", 253.6, 9.44 + 1.29},
                    NamedBytes{"350m", 694.0, 25.17 + 3.44},
                    NamedBytes{"1.3b", 2596.0, 50.33 + 6.88}),
    [](const auto& sized) {
      std::string name = sized.param.size;
      for (char& c : name) c = c == '.' ? '_' : c;
      return name;
    });

TEST(StepBytes, CountReplayOverItsPeriod) {
  auto config = NamedSize("350m", LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok());
  const double plain = StepBytes(*config).LayerAttentionFloats();
  const double state = 4.0 * 64 * 512;
  EXPECT_DOUBLE_EQ(plain, 2 * state);
  for (const int32_t period : {2, 8, 32}) {
    ASSERT_TRUE(config->SetAttentionReplay(period).ok());
    // One period, token by token.
    double floats = 0;
    for (int32_t entries = 0; entries < period; ++entries) {
      const bool last = entries == period - 1;
      floats += state * (last ? 2 : 1) +
                (entries + (last ? 0 : 1)) * 4.0 * (64 + 512);
    }
    EXPECT_NEAR(StepBytes(*config).LayerAttentionFloats(), floats / period,
                1e-6 * floats);
  }
  // As performance.md has it, which lets every token write an entry.
  EXPECT_NEAR(ReplayGain(*config, 16), 1.650, 0.001);
}

TEST(StepBytes, CountStatesASequenceAndWeightsOnce) {
  const auto config = NamedSize("31m", LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok());
  const StepBytes bytes(*config);
  const double row = 2.0 * config->hidden_size;
  EXPECT_DOUBLE_EQ(bytes.Step(8, false),
                   bytes.Step(1, false) + 7 * (bytes.State() + row));
}

TEST(StepBytes, TouchMoreTapsWhenPositionsAreSpread) {
  for (const LongConvKind kind :
       {LongConvKind::kHierarchical, LongConvKind::kExplicit}) {
    const auto config = NamedSize("31m", kind);
    ASSERT_TRUE(config.ok());
    const StepBytes bytes(*config);
    EXPECT_DOUBLE_EQ(bytes.Weights(1, true), bytes.Weights(1, false));
    EXPECT_GT(bytes.Weights(8, true), bytes.Weights(8, false));
  }
}

TEST(ReadCeiling, ReadsAtAFinitePositiveRateWithEveryThreadCount) {
  for (const int threads : {1, 2, 3}) {
    auto ceiling = ReadCeiling::Create(threads, size_t{8} << 20);
    ASSERT_TRUE(ceiling.ok()) << ceiling.status();
    const double rate = (*ceiling)->Measure(0.001);
    EXPECT_GT(rate, 0);
    EXPECT_TRUE(std::isfinite(rate));
  }
}

TEST(ReadCeiling, MovesBytesPastTheEndOfItsBuffer) {
  auto ceiling = ReadCeiling::Create(2, size_t{4} << 20);
  ASSERT_TRUE(ceiling.ok()) << ceiling.status();
  for (const int64_t bytes : {1, 1000, 3 << 20, 11 << 20}) {
    EXPECT_TRUE((*ceiling)->Move(bytes).ok()) << bytes;
  }
  EXPECT_TRUE(absl::IsInvalidArgument((*ceiling)->Move(0)));
}

TEST(StageTimer, SharesAStepOutAmongItsOps) {
  auto config = NamedSize("31m", LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok());
  config->num_hidden_layers = 1;
  config->vocab_size = 512;
  WorkloadOptions options;
  options.config = *config;
  options.backend.threads = 1;
  options.max_copies = 1;
  options.stages = true;
  auto workload = DecodeWorkload::Create(options);
  ASSERT_TRUE(workload.ok()) << workload.status();
  ASSERT_TRUE((*workload)->Seed({1, 1024, false, 512}).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*workload)->Step().ok());

  double shares = 0;
  for (const auto& stage : (*workload)->stages()) {
    EXPECT_GE(stage["seconds_mean"].get<double>(), 0) << stage;
    EXPECT_LE(stage["seconds_p50"], stage["seconds_max"]) << stage;
    if (stage["op"] == "step") {
      EXPECT_EQ(stage["share_of_step"], 1);
    } else {
      shares += stage["share_of_step"].get<double>();
    }
    if (stage["op"] == "long_convolution") {
      EXPECT_GT(stage["share_of_step"], 0);
    }
  }
  EXPECT_NEAR(shares, 1, 1e-9);
  (*workload)->SetPositions({1, 1024, false, 512});
  EXPECT_TRUE((*workload)->stages().empty());
}

TEST(RunPairs, TimesEveryStepAndEndsWithTheStepsError) {
  auto ceiling = ReadCeiling::Create(1, size_t{1} << 20);
  ASSERT_TRUE(ceiling.ok()) << ceiling.status();
  PairOptions options;
  options.seconds = 0.001;
  options.warm_up_seconds = 0;
  options.pairs = 3;
  options.min_steps = 20;
  int64_t calls = 0;
  const auto result = RunPairs(options, 1e6, **ceiling, [&calls] {
    ++calls;
    return absl::OkStatus();
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->pairs, 3);
  EXPECT_GE(result->step_seconds.size(), 20u);
  EXPECT_GE(calls, static_cast<int64_t>(result->step_seconds.size()));
  EXPECT_GT(result->share.median, 0);

  EXPECT_EQ(RunPairs(options, 1e6, **ceiling,
                     [] { return absl::UnavailableError("device lost"); })
                .status()
                .code(),
            absl::StatusCode::kUnavailable);
}

TEST(Host, KnowsItsCachesAndCores) {
  EXPECT_GT(LastLevelCacheBytes(), 0);
  EXPECT_GE(HostCores(), 1);
  EXPECT_GE(ReadCoreTimes().steal_seconds, 0);
  EXPECT_GE(ReadCoreTimes().others_seconds, ReadCoreTimes().steal_seconds);
  EXPECT_GT(DescribeHost()["memory_bytes"], 0);
}

}  // namespace
}  // namespace chela::bench
