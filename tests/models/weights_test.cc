#include "models/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/chela_model.h"
#include "models/named_sizes.h"
#include "models/state_pool.h"
#include "tests/models/running_model.h"
#include "tests/models/weights_rig.h"

namespace chela {
namespace {

using test_support::TensorBytes;
using test_support::TensorToWrite;
using test_support::TinyConfig;
using test_support::TinyModel;
using test_support::TinyTensors;

TEST_F(WeightsTest, LoadsACheckpointOfEveryForm) {
  for (const bool layer_norm : {false, true}) {
    for (const bool tied : {false, true}) {
      for (const bool decay : {false, true}) {
        ModelConfig config = TinyConfig();
        config.norm = layer_norm ? NormKind::kLayer : NormKind::kRms;
        config.tie_word_embeddings = tied;
        const TinyModel model(config, {.decay = decay});
        const auto weights = Load(model);
        ASSERT_TRUE(weights.ok()) << weights.status();
        EXPECT_EQ((*weights)->layers().size(), 2u);
        EXPECT_EQ((*weights)->layers()[1].decay != nullptr, decay);
        EXPECT_EQ((*weights)->final_norm().bias != nullptr, layer_norm);
        EXPECT_EQ(&(*weights)->head() == &(*weights)->embedding(), tied);
      }
    }
  }
}

TEST_F(WeightsTest, StacksTheProjectionsInTheirOrder) {
  const TinyModel model;
  const auto weights = Load(model);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const LayerWeights& layer = (*weights)->layers()[0];
  const ModelConfig& config = (*weights)->config();
  EXPECT_EQ(layer.projections->rows(), config.projection_rows());
  EXPECT_EQ(layer.projections->cols(), config.hidden_size);
  EXPECT_EQ(layer.ffn_up->rows(), 2 * config.intermediate_size);
  EXPECT_EQ(layer.ffn_down->cols(), config.intermediate_size);
  EXPECT_EQ(layer.out_proj->cols(), config.value_dim);
}

TEST_F(WeightsTest, CountsAtLeastTheBytesOfEveryTensor) {
  ModelConfig config = TinyConfig();
  config.torch_dtype = DType::kBF16;
  const TinyModel model(config);
  const auto weights = Load(model);
  ASSERT_TRUE(weights.ok()) << weights.status();
  // Every element takes 2 or 4 bytes; layouts may pad.
  EXPECT_GE((*weights)->size_bytes(), 2 * config.parameters());
}

TEST_F(WeightsTest, ReadsTheSameValuesFromEveryStoredType) {
  // Values that all three types hold exactly give equal logits.
  const ModelConfig config = TinyConfig();
  Tensors tensors = TinyTensors(config);
  std::vector<std::vector<float>> want;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (TensorToWrite& tensor : tensors) {
      size_t count = 1;
      for (const int64_t size : tensor.shape)
        count *= static_cast<size_t>(size);
      std::vector<double> values(count);
      for (size_t i = 0; i < count; ++i) {
        values[i] = static_cast<double>(i * 37 % 15 + 1) / 16;
      }
      tensor.dtype = Name(dtype);
      tensor.bytes = TensorBytes(values, dtype);
    }
    const TinyModel model(config.ToJson(), tensors);
    RunningModel running(model.directory());
    const auto got =
        running.Run(running.Acquire(), {256, 1, 2, 3, 200, 65, 8}, 3);
    if (want.empty()) want = got;
    EXPECT_EQ(got, want) << Name(dtype);
  }
}

TEST_F(WeightsTest, FingerprintKnowsConfigAndTensorsButNotFiles) {
  const ModelConfig config = TinyConfig();
  const TinyModel one(config), same(config), other(config, {.seed = 2});
  ModelConfig silu = config;
  silu.feature_map = FeatureMap::kSilu;
  const TinyModel changed(silu);
  // The same tensors in shards.
  const TinyModel shards(config);
  const Tensors tensors = TinyTensors(config);
  const Tensors first(tensors.begin(), tensors.begin() + 5);
  const Tensors second(tensors.begin() + 5, tensors.end());
  nlohmann::json map;
  for (const auto& tensor : first) map[tensor.name] = "1.safetensors";
  for (const auto& tensor : second) map[tensor.name] = "2.safetensors";
  ASSERT_EQ(std::remove((shards.directory() + "/model.safetensors").c_str()),
            0);
  shards.folder().Write("1.safetensors", test_support::SafetensorsBytes(first));
  shards.folder().Write("2.safetensors",
                        test_support::SafetensorsBytes(second));
  shards.folder().Write("model.safetensors.index.json",
                        nlohmann::json{{"weight_map", map}}.dump());

  const std::string fingerprint = (*Load(one))->fingerprint();

  EXPECT_EQ(fingerprint.size(), 16u);
  EXPECT_EQ((*Load(same))->fingerprint(), fingerprint);
  EXPECT_NE((*Load(other))->fingerprint(), fingerprint);
  EXPECT_NE((*Load(changed))->fingerprint(), fingerprint);
  const auto sharded = Load(shards);
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  EXPECT_EQ((*sharded)->fingerprint(), fingerprint);
}

TEST_F(WeightsTest, RandomIsReproducibleFromItsSeed) {
  const ModelConfig config = TinyConfig();
  const auto logits = [&](uint64_t seed) {
    auto weights = Weights::Random(*backend_, config, seed);
    EXPECT_TRUE(weights.ok()) << weights.status();
    auto model = ChelaModel::Create(*backend_, *std::move(weights), 4);
    auto pool = StatePool::Create(*backend_, config, 1);
    std::vector<float> row(258);
    StepPlan plan;
    plan.segments = {{0, 0, 4, 0}};
    plan.tokens = {256, 1, 2, 3};
    plan.logits_rows = {3};
    EXPECT_TRUE((*model)->Forward(plan, **pool, row).ok());
    return row;
  };
  const std::vector<float> one = logits(1);
  EXPECT_EQ(logits(1), one);
  EXPECT_NE(logits(2), one);
  for (const float value : one) EXPECT_TRUE(std::isfinite(value));
  EXPECT_NE((*Weights::Random(*backend_, config, 1))->fingerprint(),
            (*Weights::Random(*backend_, config, 2))->fingerprint());
}

TEST_F(WeightsTest, RandomMakesBothKindsOfANamedSize) {
  for (const auto kind :
       {LongConvKind::kHierarchical, LongConvKind::kExplicit}) {
    ModelConfig config = *NamedSize("31m", kind);
    config.num_hidden_layers = 1;  // The other seven differ only in values.
    const auto weights = Weights::Random(*backend_, config, 1);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const LayerWeights& layer = (*weights)->layers()[0];
    EXPECT_NE(layer.decay, nullptr);
    EXPECT_EQ(layer.explicit_kernel != nullptr,
              kind == LongConvKind::kExplicit);
    EXPECT_GE((*weights)->size_bytes(),
              2 * (config.parameters() -
                   (kind == LongConvKind::kExplicit ? 512 * 8192 : 0)));
  }
}

}  // namespace
}  // namespace chela
