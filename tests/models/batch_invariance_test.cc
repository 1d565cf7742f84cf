// The same bits in any company: a model wide enough for every parallel path,
// on each kernel set, with each kernel kind and type of matrix.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "models/chela_model.h"
#include "models/state_pool.h"
#include "models/weights.h"
#include "tests/models/running_model.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

constexpr int32_t kSlots = 33;
constexpr int64_t kPrompt = 37;
constexpr int64_t kGenerated = 6;

ModelConfig Config(LongConvKind kind) {
  ModelConfig config;
  config.vocab_size = 500;
  config.hidden_size = 144;
  config.num_hidden_layers = 2;
  config.num_heads = 2;
  config.shared_dim = 40;
  config.value_dim = 200;
  config.intermediate_size = 180;
  config.norm_eps = 1e-5f;
  config.short_conv_kernel_size = 4;
  config.long_conv_kind = kind;
  config.long_conv_length = 128;
  config.long_conv_base_length = kind == LongConvKind::kExplicit ? 0 : 8;
  config.tie_word_embeddings = true;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  config.torch_dtype = DType::kBF16;
  return config;
}

using Logits = std::vector<std::vector<float>>;

// One process's worth of model: random weights, the same in every instance.
class Instance {
 public:
  Instance(LongConvKind kind, DType matrices, CpuKernels kernels,
           int32_t threads) {
    BackendOptions options;
    options.threads = threads;
    options.max_kernels = kernels;
    backend_ = *MakeBackend(options);
    model_ = *ChelaModel::Create(
        *backend_, *Weights::Random(*backend_, Config(kind), 3, matrices), 256);
    pool_ = *StatePool::Create(*backend_, model_->config(), kSlots);
  }

  StatePool::Slot Acquire() { return *pool_->Acquire(); }

  // Runs a step; the logits of the last row of each segment.
  Logits Step(StepPlan plan) {
    for (const Segment& segment : plan.segments) {
      plan.logits_rows.push_back(segment.first_row + segment.rows - 1);
    }
    const auto vocab = static_cast<size_t>(model_->config().vocab_size);
    std::vector<float> all(plan.segments.size() * vocab);
    const absl::Status status = model_->Forward(plan, *pool_, all);
    EXPECT_TRUE(status.ok()) << status;
    Logits logits;
    for (size_t i = 0; i < plan.segments.size(); ++i) {
      const auto row = all.begin() + static_cast<std::ptrdiff_t>(i * vocab);
      logits.emplace_back(row, row + static_cast<std::ptrdiff_t>(vocab));
    }
    return logits;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ChelaModel> model_;
  std::unique_ptr<StatePool> pool_;
};

void Append(StepPlan& plan, const StatePool::Slot& slot,
            const std::vector<int32_t>& tokens, int64_t first, int64_t rows) {
  plan.segments.push_back({slot.id(), static_cast<int32_t>(plan.tokens.size()),
                           static_cast<int32_t>(rows), first});
  plan.tokens.insert(plan.tokens.end(), tokens.begin() + first,
                     tokens.begin() + first + rows);
}

// The sequence in question: a prompt read in one chunk, then tokens that are
// given, so that every run takes the same way.
std::vector<int32_t> RandomSequence() {
  return RandomTokens(kPrompt + kGenerated, 500, 77);
}

// The logits of its prompt's end and of each later token, with `others` more
// sequences in every step: some decode, some read a prompt, some are cancelled
// between two steps and their slots taken over.
Logits RunAmong(Instance& on, int32_t others, bool last_slot) {
  std::mt19937 random(static_cast<uint32_t>(others));
  std::vector<std::pair<StatePool::Slot, int64_t>> company;
  const auto join = [&] { company.emplace_back(on.Acquire(), 0); };
  StatePool::Slot mine;
  if (!last_slot) mine = on.Acquire();
  for (int32_t i = 0; i < others; ++i) join();
  if (last_slot) mine = on.Acquire();
  const std::vector<int32_t> tokens = RandomSequence();
  const std::vector<int32_t> noise = RandomTokens(400, 500, 5);
  Logits got;
  for (int64_t at = 0; at < kPrompt + kGenerated;) {
    const int64_t rows = at == 0 ? kPrompt : 1;
    StepPlan plan;
    const size_t before = company.size() / 2;
    for (size_t i = 0; i <= company.size(); ++i) {
      if (i == before) Append(plan, mine, tokens, at, rows);
      if (i == company.size()) break;
      auto& [slot, seen] = company[i];
      const int64_t more = 1 + static_cast<int64_t>(random() % 4 == 0 ? 5 : 0);
      Append(plan, slot, noise, seen, more);
      seen += more;
    }
    got.push_back(on.Step(plan)[before]);
    at += rows;
    if (company.empty()) continue;
    // Cancelled; another request begins in the slot that is free now.
    auto& victim = company[random() % company.size()];
    victim.first = StatePool::Slot();
    victim = {on.Acquire(), 0};
  }
  return got;
}

class BatchInvarianceTest : public testing::TestWithParam<
                                std::tuple<BackendCase, LongConvKind, DType>> {
 protected:
  static std::unique_ptr<Instance> Make(int32_t threads) {
    const auto& [backend, kind, matrices] = GetParam();
    return std::make_unique<Instance>(kind, matrices,
                                      backend.options.max_kernels, threads);
  }
};

TEST_P(BatchInvarianceTest, AloneAndInAnyCompanyOnAnyNumberOfThreads) {
  const Logits alone = RunAmong(*Make(1), 0, false);
  ASSERT_EQ(alone.size(), static_cast<size_t>(kGenerated) + 1);
  for (const int32_t threads : {1, 2, 5}) {
    const std::unique_ptr<Instance> on = Make(threads);
    for (const int32_t others : {0, 1, 7, 12, 32}) {
      for (const bool last_slot : {false, true}) {
        EXPECT_EQ(RunAmong(*on, others, last_slot), alone)
            << threads << " threads, " << others << " others";
      }
    }
  }
}

using Case = BatchInvarianceTest::ParamType;

std::string CaseName(const testing::TestParamInfo<Case>& test) {
  const auto& [backend, kind, matrices] = test.param;
  return std::string(backend.name) +
         (kind == LongConvKind::kExplicit ? "Explicit" : "Hierarchical") +
         Name(matrices);
}

INSTANTIATE_TEST_SUITE_P(
    Matrix, BatchInvarianceTest,
    testing::Combine(testing::ValuesIn(EveryCpuBackend()),
                     testing::Values(LongConvKind::kHierarchical,
                                     LongConvKind::kExplicit),
                     testing::Values(DType::kBF16, DType::kI8, DType::kF32)),
    CaseName);

}  // namespace
}  // namespace chela
