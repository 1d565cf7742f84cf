// What chela-bench engine runs: decode steps and prompts of a small model.
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "server/tools/bench/decode_row.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/prefill_bench.h"
#include "server/tools/bench/read_ceiling.h"

namespace chela::bench {
namespace {

constexpr char kSmallModel[] = R"({
  "model_type": "chela", "architectures": ["ChelaForCausalLM"],
  "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2,
  "shared_dim": 8, "value_dim": 16, "intermediate_size": 24, "ffn": "swiglu",
  "norm": "rmsnorm", "norm_eps": 1e-5, "feature_map": "elu1",
  "short_conv": {"kernel_size": 4},
  "long_conv": {"kind": "hierarchical", "length": 64, "base_length": 4},
  "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1,
  "add_bos_token": true, "torch_dtype": "bfloat16"})";

absl::StatusOr<std::unique_ptr<DecodeWorkload>> SmallWorkload(
    int32_t batch, int32_t base_batch) {
  absl::StatusOr<ModelConfig> config = ModelConfig::Parse(kSmallModel);
  if (!config.ok()) return config.status();
  WorkloadOptions options;
  options.config = *std::move(config);
  options.backend.threads = 1;
  options.max_batch = batch;
  options.base_batch = base_batch;
  options.max_copies = 1;
  return DecodeWorkload::Create(options);
}

// Which floats of the state one step changes.
std::vector<bool> ChangedByAStep(DecodeWorkload& workload) {
  const auto before = workload.State(0);
  EXPECT_TRUE(before.ok()) << before.status();
  EXPECT_TRUE(workload.Step().ok());
  const auto after = workload.State(0);
  EXPECT_TRUE(after.ok()) << after.status();
  std::vector<bool> changed;
  for (size_t i = 0; i < before->size(); ++i) {
    EXPECT_TRUE(std::isfinite((*after)[i])) << i;
    changed.push_back((*before)[i] != (*after)[i]);
  }
  return changed;
}

TEST(DecodeWorkload, ASeededStateIsStruckWhereAPromptsStateIs) {
  WorkloadOptions options;
  const auto config = ModelConfig::Parse(kSmallModel);
  ASSERT_TRUE(config.ok()) << config.status();
  options.config = *config;
  options.backend.threads = 1;
  options.max_copies = 1;
  auto workload = DecodeWorkload::Create(options);
  ASSERT_TRUE(workload.ok()) << workload.status();
  // Past N, so that every row was filled; the second position fires all
  // levels (t + 1 = 2^S n).
  for (const int64_t position : {100, 127}) {
    SCOPED_TRACE(position);
    ASSERT_TRUE((*workload)->Prefill(position, 32).ok());
    (*workload)->SetPositions({1, position, false, 1});
    const std::vector<bool> prompted = ChangedByAStep(**workload);
    ASSERT_TRUE((*workload)->Seed({1, position, false, 1}).ok());
    EXPECT_EQ(ChangedByAStep(**workload), prompted);
  }
}

TEST(DecodeWorkload, StepsOfTheBaseSetLeaveTheMeasuredOneAlone) {
  const DecodeWorkload::Sequences sequences = {2, 100, false, 1};
  auto alone = SmallWorkload(2, 0);
  ASSERT_TRUE(alone.ok()) << alone.status();
  ASSERT_TRUE((*alone)->Seed(sequences).ok());
  auto beside = SmallWorkload(2, 3);
  ASSERT_TRUE(beside.ok()) << beside.status();
  ASSERT_TRUE((*beside)->Seed(sequences).ok());
  ASSERT_TRUE((*beside)->Seed({3, 7, true, 16}, DecodeWorkload::kBase).ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE((*alone)->Step().ok());
    ASSERT_TRUE((*beside)->Step().ok());
    ASSERT_TRUE((*beside)->Step(DecodeWorkload::kBase).ok());
  }
  EXPECT_EQ(*(*beside)->State(1), *(*alone)->State(1));
}

TEST(MeasureDecode, GivesARowsRatiosToTheBaseInTurnWithIt) {
  auto workload = SmallWorkload(4, 2);
  ASSERT_TRUE(workload.ok()) << workload.status();
  auto ceiling = ReadCeiling::Create(1, size_t{1} << 20);
  ASSERT_TRUE(ceiling.ok()) << ceiling.status();
  EngineBenchOptions options;
  options.seconds = 0.001;
  options.pairs = 2;
  options.periods = 0;
  const RowSize base = {2, 100};
  const auto row =
      MeasureDecode(options, {4, 1000}, &base, **workload, **ceiling);
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ((*row)["peer"], "batch 2 at position 100");
  const double step = (*row)["step_ratio"];
  EXPECT_GT(step, 0);
  const double bytes = (*row)["bytes_ratio"];
  EXPECT_GT(bytes, 1);
  EXPECT_LT(bytes, 2);
  EXPECT_DOUBLE_EQ((*row)["step_ratio_over_bytes_ratio"], step / bytes);
  // Twice the sequences in `step` times the time.
  EXPECT_NEAR((*row)["tokens_per_second_ratio"], 2 / step, 1e-9);
}

TEST(MeasurePrefill, GivesTheRateOfRunsOfAPrompt) {
  auto workload = SmallWorkload(1, 0);
  ASSERT_TRUE(workload.ok()) << workload.status();
  auto ceiling = ReadCeiling::Create(1, size_t{1} << 20);
  ASSERT_TRUE(ceiling.ok()) << ceiling.status();
  PairOptions plan;
  plan.seconds = 0.001;
  plan.warm_up_seconds = 0;
  plan.pairs = 2;
  const auto row =
      MeasurePrefill({70, 32}, plan, nullptr, **workload, **ceiling);
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_GE((*row)["runs"], 2);
  EXPECT_LE((*row)["tokens_per_second_min"], (*row)["tokens_per_second"]);
  EXPECT_LE((*row)["tokens_per_second"], (*row)["tokens_per_second_max"]);
}

}  // namespace
}  // namespace chela::bench
