// Checkpoints whose tensors or config are not what they must be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/models/weights_rig.h"

namespace chela {
namespace {

using test_support::TensorBytes;
using test_support::TensorToWrite;
using test_support::TinyConfig;
using test_support::TinyModel;
using test_support::TinyTensors;
using ::testing::HasSubstr;

class WeightsRefusalTest : public WeightsTest {
 protected:
  // The message that refuses a checkpoint after `change`, without the path of
  // its folder.
  std::string Refusal(const std::function<void(Tensors&)>& change,
                      const ModelConfig& config = TinyConfig()) {
    Tensors tensors = TinyTensors(config);
    change(tensors);
    const TinyModel model(config.ToJson(), tensors);
    const auto weights = Load(model);
    if (weights.ok()) return "accepted";
    EXPECT_TRUE(absl::IsInvalidArgument(weights.status()));
    std::string message(weights.status().message());
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_EQ(message.rfind(model.directory(), 0), 0u) << message;
    return message.substr(model.directory().size());
  }
};

void Set(TensorToWrite& tensor, size_t element, double value) {
  const size_t count = tensor.bytes.size() / 4;
  std::vector<double> values(count, 0.5);
  values[element] = value;
  tensor.bytes = TensorBytes(values, DType::kF32);
}

TEST_F(WeightsRefusalTest, NamesAMissingTensor) {
  EXPECT_EQ(Refusal([](Tensors& tensors) {
              std::erase_if(tensors, [](const auto& tensor) {
                return tensor.name == "model.layers.1.long_conv.taps0";
              });
            }),
            ": tensor \"model.layers.1.long_conv.taps0\": missing; want "
            "[16, 4]");
}

TEST_F(WeightsRefusalTest, NamesAnUnknownTensor) {
  EXPECT_EQ(Refusal([](Tensors& tensors) {
              tensors.push_back({"model.layers.2.norm1.weight",
                                 "F32",
                                 {16},
                                 std::string(64, '\0')});
            }),
            "/model.safetensors: tensor \"model.layers.2.norm1.weight\": "
            "unknown; want only tensors of config.json's model");
}

TEST_F(WeightsRefusalTest, RefusesAHeadBesideTiedEmbeddings) {
  ModelConfig config = TinyConfig();
  config.tie_word_embeddings = true;
  EXPECT_THAT(Refusal(
                  [](Tensors& tensors) {
                    tensors.push_back({"lm_head.weight",
                                       "F32",
                                       {258, 16},
                                       std::string(258 * 64, '\0')});
                  },
                  config),
              HasSubstr("tensor \"lm_head.weight\": unknown"));
}

TEST_F(WeightsRefusalTest, RefusesANormBiasWithoutLayerNorm) {
  EXPECT_THAT(Refusal([](Tensors& tensors) {
                tensors.push_back(
                    {"model.norm.bias", "F32", {16}, std::string(64, '\0')});
              }),
              HasSubstr("tensor \"model.norm.bias\": unknown"));
}

TEST_F(WeightsRefusalTest, NamesAWrongShape) {
  EXPECT_EQ(
      Refusal([](Tensors& tensors) {
        Find(tensors, "model.layers.0.attention.out_proj.weight").shape = {24,
                                                                           16};
      }),
      "/model.safetensors: tensor "
      "\"model.layers.0.attention.out_proj.weight\": shape [24, 16]; "
      "want [16, 24] by config.json");
}

TEST_F(WeightsRefusalTest, NamesAWrongType) {
  EXPECT_EQ(Refusal([](Tensors& tensors) {
              auto& tensor = Find(tensors, "model.norm.weight");
              tensor.dtype = "I32";
            }),
            "/model.safetensors: tensor \"model.norm.weight\": type I32; want "
            "F32, BF16 or F16");
}

TEST_F(WeightsRefusalTest, NamesTheElementThatIsNotFinite) {
  for (const char* name : {"lm_head.weight", "model.layers.1.long_conv.skip",
                           "model.layers.0.attention.decay"}) {
    EXPECT_THAT(Refusal([&](Tensors& tensors) {
                  Set(Find(tensors, name), 1,
                      std::numeric_limits<double>::quiet_NaN());
                }),
                HasSubstr(std::string("tensor \"") + name +
                          "\": element 1 is nan; want a finite F32"));
    EXPECT_THAT(Refusal([&](Tensors& tensors) {
                  Set(Find(tensors, name), 0,
                      -std::numeric_limits<double>::infinity());
                }),
                HasSubstr("element 0 is -inf; want a finite F32"));
  }
}

TEST_F(WeightsRefusalTest, RefusesAMatrixThatOverflowsAsFloat16) {
  ModelConfig config = TinyConfig();
  config.torch_dtype = DType::kF16;
  const auto widen = [](const char* name) {
    return [name](Tensors& tensors) {
      auto& tensor = Find(tensors, name);
      tensor.dtype = "F32";
      std::vector<double> values(tensor.name == "model.norm.weight" ? 16
                                                                    : 258 * 16);
      values[3] = 70000;
      tensor.bytes = TensorBytes(values, DType::kF32);
    };
  };
  EXPECT_THAT(Refusal(widen("lm_head.weight"), config),
              HasSubstr("element 3 is 70000; want a finite F16"));
  // A vector stays float32 and may be large.
  EXPECT_EQ(Refusal(widen("model.norm.weight"), config), "accepted");
}

TEST_F(WeightsRefusalTest, RefusesADecayOutsideItsRange) {
  for (const double decay : {0.0, -0.5, 1.0001}) {
    EXPECT_THAT(Refusal([&](Tensors& tensors) {
                  Set(Find(tensors, "model.layers.1.attention.decay"), 1,
                      decay);
                }),
                HasSubstr("tensor \"model.layers.1.attention.decay\": element "
                          "1 is "));
  }
}

TEST_F(WeightsRefusalTest, NamesTheConfigThatIsWrong) {
  const TinyModel model("{}", {});
  const auto weights = Load(model);
  EXPECT_TRUE(absl::IsInvalidArgument(weights.status()));
  EXPECT_EQ(
      std::string(weights.status().message()),
      model.directory() + "/config.json: model_type: missing; want this key");
}

TEST_F(WeightsRefusalTest, SaysThatAFolderIsMissing) {
  const auto weights = Weights::Load(*backend_, "/nonexistent/model");
  EXPECT_TRUE(absl::IsNotFound(weights.status()));
  EXPECT_THAT(std::string(weights.status().message()),
              HasSubstr("/nonexistent/model/config.json: cannot open"));
}

}  // namespace
}  // namespace chela
