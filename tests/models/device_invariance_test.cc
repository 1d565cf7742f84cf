// What every backend promises: a sequence that is fed in the same pieces gives
// the same bits alone, in any batch, in any slot. (That other pieces give the
// same bits too is the CPU's own: model_invariance_test.cc.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/models/running_model.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::TinyConfig;
using test_support::TinyModel;
using Rows = std::vector<std::vector<float>>;

constexpr int32_t kSequences = 21;  // more than one tile of rows

struct Sequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pieces;  // their sizes; they add up to the tokens
  Rows alone;
};

// A tiny model's sizes, or practical ones: those of the named sizes
// (models/named_sizes.h) and some between them.
struct Width {
  const char* name;
  int32_t hidden_size = 0;  // 0: tiny
  int32_t num_heads = 0;
  int32_t shared_dim = 0;
  int32_t value_dim = 0;
  int32_t intermediate_size = 0;
};
constexpr Width kTiny = {""};
constexpr Width k350m = {"Wide", 1024, 4, 256, 2048, 1408};
constexpr Width kOtherWidths[] = {{"Wide256", 256, 2, 96, 512, 448},
                                  {"Wide384", 384, 3, 144, 768, 576},
                                  {"Wide31m", 512, 4, 128, 1024, 768},
                                  {"Wide640", 640, 5, 320, 1280, 1728},
                                  {"Wide125m", 768, 3, 192, 1536, 1536},
                                  {"Wide1152", 1152, 9, 432, 2304, 1984},
                                  {"Wide1300m", 2048, 8, 512, 4096, 2688}};
// More than the two whose layers take turns with a place in memory.
constexpr int32_t kLayers = 4;

void PrintTo(const Width& width, std::ostream* out) {
  *out << width.hidden_size;
}

void Widen(const Width& width, ModelConfig* config) {
  if (width.hidden_size == 0) return;
  config->num_hidden_layers = kLayers;
  config->hidden_size = width.hidden_size;
  config->num_heads = width.num_heads;
  config->shared_dim = width.shared_dim;
  config->value_dim = width.value_dim;
  config->intermediate_size = width.intermediate_size;
}

class DeviceInvarianceTest
    : public testing::TestWithParam<std::tuple<LongConvKind, DType, Width>> {
 protected:
  DeviceInvarianceTest()
      : checkpoint_(Config()),
        running_(checkpoint_.directory(),
                 {.max_rows = 512, .slots = kSequences + 3}) {
    std::mt19937_64 random(17);
    for (uint64_t i = 0; i < kSequences; ++i) {
      Sequence sequence;
      // A prompt, then tokens one by one with a piece of a second turn between.
      sequence.pieces = {static_cast<int32_t>(1 + random() % 30)};
      for (uint64_t t = 0; t < 12 + i; ++t) {
        sequence.pieces.push_back(random() % 9 == 0 ? 7 : 1);
      }
      int64_t count = 0;
      for (const int32_t piece : sequence.pieces) count += piece;
      sequence.tokens = RandomTokens(count, 258, 100 + i);
      const StatePool::Slot slot = running_.Acquire();
      int64_t first = 0;
      for (const int32_t piece : sequence.pieces) {
        for (auto& row : running_.Feed(slot, sequence.tokens, first, piece)) {
          sequence.alone.push_back(std::move(row));
        }
        first += piece;
      }
      sequences_.push_back(std::move(sequence));
    }
  }

  static ModelConfig Config() {
    ModelConfig config = TinyConfig();
    Width width = kTiny;
    std::tie(config.long_conv_kind, config.torch_dtype, width) = GetParam();
    Widen(width, &config);
    if (config.long_conv_kind == LongConvKind::kExplicit) {
      config.long_conv_length = 100;
      config.long_conv_base_length = 0;
    }
    return config;
  }

  // All sequences at once; each takes part in a step with the given
  // probability in percent.
  void ExpectSameTogether(uint64_t seed, uint64_t percent);

  TinyModel checkpoint_;
  RunningModel running_;
  std::vector<Sequence> sequences_;
};

void DeviceInvarianceTest::ExpectSameTogether(uint64_t seed, uint64_t percent) {
  struct Running {
    const Sequence* sequence = nullptr;
    StatePool::Slot slot;
    size_t piece = 0;
    Rows rows = {};
  };
  std::mt19937_64 random(seed);
  std::vector<Running> all;
  for (const Sequence& sequence : sequences_) {
    all.push_back({.sequence = &sequence, .slot = running_.Acquire()});
  }
  std::shuffle(all.begin(), all.end(), random);
  for (bool more = true; more;) {
    more = false;
    StepPlan plan;
    std::vector<Running*> owners;
    for (Running& running : all) {
      if (running.piece == running.sequence->pieces.size()) continue;
      more = true;
      if (random() % 100 >= percent) continue;
      const int32_t piece = running.sequence->pieces[running.piece++];
      const auto done = static_cast<int64_t>(running.rows.size());
      plan.segments.push_back({running.slot.id(),
                               static_cast<int32_t>(plan.tokens.size()), piece,
                               done});
      for (int64_t t = done; t < done + piece; ++t) {
        plan.tokens.push_back(running.sequence->tokens[static_cast<size_t>(t)]);
        owners.push_back(&running);
      }
    }
    if (plan.tokens.empty()) continue;
    Rows rows = running_.Step(std::move(plan));
    for (size_t i = 0; i < rows.size(); ++i) {
      owners[i]->rows.push_back(std::move(rows[i]));
    }
  }
  for (const Running& running : all) {
    EXPECT_EQ(running.rows, running.sequence->alone);
  }
}

TEST_P(DeviceInvarianceTest, EveryBatchGivesASequenceTheBitsItGetsAlone) {
  for (const auto& [seed, percent] : std::vector<std::pair<uint64_t, uint64_t>>{
           {1, 100}, {2, 60}, {3, 30}, {4, 8}}) {
    SCOPED_TRACE(percent);
    ExpectSameTogether(seed, percent);
  }
}

// A GPU's kernels choose their blocks by the width and by the rows of a step,
// so practical widths matter there (and cost too much elsewhere).
std::vector<Width> OnGpus(std::vector<Width> widths) {
  const char* const device = std::getenv("CHELA_TEST_DEVICE");
  const bool gpu = device != nullptr && std::string_view(device) == "cuda";
  return gpu ? widths : std::vector<Width>();
}

std::string NameOf(
    const testing::TestParamInfo<std::tuple<LongConvKind, DType, Width>>&
        test) {
  return std::string(std::get<0>(test.param) == LongConvKind::kExplicit
                         ? "Explicit"
                         : "Hierarchical") +
         Name(std::get<1>(test.param)) + std::get<2>(test.param).name;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DeviceInvarianceTest,
    testing::Combine(testing::Values(LongConvKind::kExplicit,
                                     LongConvKind::kHierarchical),
                     testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                     testing::Values(kTiny)),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Wide, DeviceInvarianceTest,
    testing::Combine(testing::Values(LongConvKind::kExplicit,
                                     LongConvKind::kHierarchical),
                     testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                     testing::ValuesIn(OnGpus({k350m}))),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Sizes, DeviceInvarianceTest,
    testing::Combine(testing::Values(LongConvKind::kHierarchical),
                     testing::Values(DType::kBF16),
                     testing::ValuesIn(OnGpus({std::begin(kOtherWidths),
                                               std::end(kOtherWidths)}))),
    NameOf);

}  // namespace
}  // namespace chela
