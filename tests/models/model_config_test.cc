#include "models/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Valid() { return json::parse(test_support::TinyConfig().ToJson()); }

// The message that Parse refuses a changed valid config with.
std::string ConfigRefusal(const std::function<void(json&)>& change) {
  json config = Valid();
  change(config);
  const auto parsed = ModelConfig::Parse(config.dump());
  if (parsed.ok()) return "accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  return std::string(parsed.status().message());
}

std::string RefusalOf(const char* key, const json& value) {
  return ConfigRefusal([&](json& config) { config[key] = value; });
}

TEST(ModelConfig, ReadsBackWhatItWrites) {
  ModelConfig config = test_support::TinyConfig();
  config.ffn = FeedForwardKind::kSilu;
  config.norm = NormKind::kLayer;
  config.feature_map = FeatureMap::kIdentity;
  config.torch_dtype = DType::kF16;
  config.embedding_multiplier = 0.1f;
  config.tie_word_embeddings = true;
  config.max_position_trained = 4096;

  const auto parsed = ModelConfig::Parse(config.ToJson());

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), config.ToJson());
  EXPECT_EQ(parsed->embedding_multiplier, 0.1f);
  EXPECT_EQ(parsed->norm, NormKind::kLayer);
  EXPECT_EQ(parsed->torch_dtype, DType::kF16);
  EXPECT_TRUE(parsed->bytes_tokenizer);
  EXPECT_THAT(parsed->unknown_keys, IsEmpty());
}

TEST(ModelConfig, WritesShortDecimals) {
  const json config = Valid();
  EXPECT_EQ(config["norm_eps"].dump(), "1e-05");
}

TEST(ModelConfig, ReadsTheExplicitKindWithoutABaseLength) {
  json config = Valid();
  config["long_conv"] = {{"kind", "explicit"}, {"length", 50}};

  const auto parsed = ModelConfig::Parse(config.dump());

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->long_conv_kind, LongConvKind::kExplicit);
  EXPECT_EQ(parsed->long_conv_base_length, 0);
  EXPECT_EQ(parsed->levels(), 0);
  EXPECT_EQ(parsed->long_conv_state_rows(), 64);
  config["long_conv"]["base_length"] = nullptr;
  EXPECT_TRUE(ModelConfig::Parse(config.dump()).ok());
}

TEST(ModelConfig, RequiresEveryKeyWithoutADefault) {
  for (const char* key :
       {"model_type", "architectures", "vocab_size", "hidden_size",
        "num_hidden_layers", "num_heads", "shared_dim", "value_dim",
        "intermediate_size", "ffn", "norm", "norm_eps", "feature_map",
        "short_conv", "long_conv", "bos_token_id", "eos_token_id",
        "add_bos_token", "torch_dtype"}) {
    EXPECT_THAT(ConfigRefusal([&](json& config) { config.erase(key); }),
                HasSubstr(std::string(key) + ": missing; want"));
  }
  for (const char* key : {"kind", "length", "base_length"}) {
    EXPECT_THAT(
        ConfigRefusal([&](json& config) { config["long_conv"].erase(key); }),
        HasSubstr("long_conv." + std::string(key) + ": missing; want"));
  }
}

TEST(ModelConfig, FillsInTheDefaults) {
  json config = Valid();
  config.erase("embedding_multiplier");
  config.erase("tie_word_embeddings");
  config.erase("max_position_trained");
  config.erase("tokenizer");

  const auto parsed = ModelConfig::Parse(config.dump());

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->embedding_multiplier, 1.0f);
  EXPECT_FALSE(parsed->tie_word_embeddings);
  EXPECT_EQ(parsed->max_position_trained, 0);
  EXPECT_FALSE(parsed->bytes_tokenizer);
}

TEST(ModelConfig, NamesTheKeyTheValueAndTheRange) {
  EXPECT_EQ(RefusalOf("hidden_size", 0),
            "hidden_size: 0; want an integer in [1, 262144]");
  EXPECT_EQ(RefusalOf("hidden_size", "16"),
            "hidden_size: \"16\"; want an integer in [1, 262144]");
  EXPECT_EQ(RefusalOf("norm", "batchnorm"),
            "norm: \"batchnorm\"; want \"rmsnorm\" or \"layernorm\"");
  EXPECT_EQ(RefusalOf("tie_word_embeddings", 1),
            "tie_word_embeddings: 1; want true or false");
  EXPECT_EQ(RefusalOf("model_type", "llama"),
            "model_type: \"llama\"; want \"chela\"");
  EXPECT_EQ(RefusalOf("architectures", json::array()),
            "architectures: []; want [\"ChelaForCausalLM\"]");
  EXPECT_EQ(RefusalOf("long_conv", 5), "long_conv: 5; want an object");
}

TEST(ModelConfig, RefusesSizesThatWouldOverflow) {
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_heads",
        "shared_dim", "value_dim", "intermediate_size"}) {
    EXPECT_THAT(RefusalOf(key, uint64_t{1} << 63), HasSubstr("; want an int"));
    EXPECT_THAT(RefusalOf(key, int64_t{1} << 32), HasSubstr("; want an int"));
    EXPECT_THAT(RefusalOf(key, -1), HasSubstr("; want an int"));
    EXPECT_THAT(RefusalOf(key, 16.0), HasSubstr("; want an int"));
    EXPECT_THAT(RefusalOf(key, nullptr), HasSubstr(": null; want an int"));
  }
}

TEST(ModelConfig, TheLargestSizesDoNotOverflow) {
  ModelConfig config = test_support::TinyConfig();
  config.vocab_size = 1 << 24;
  config.hidden_size = config.shared_dim = config.value_dim = 1 << 18;
  config.num_heads = 1;
  config.num_hidden_layers = 1 << 12;
  config.intermediate_size = 1 << 20;
  config.short_conv_kernel_size = 1 << 10;
  config.long_conv_kind = LongConvKind::kExplicit;
  config.long_conv_length = int64_t{1} << 28;

  const auto parsed = ModelConfig::Parse(config.ToJson());

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  // Of the bytes 2^60 are the long convolution's; the rest is far smaller.
  EXPECT_GT(parsed->state_layout().slot_bytes(), int64_t{1} << 60);
  EXPECT_LT(parsed->state_layout().slot_bytes(), int64_t{1} << 61);
}

TEST(ModelConfig, RefusesHeadsThatDoNotDivide) {
  EXPECT_EQ(RefusalOf("shared_dim", 9),
            "shared_dim: 9; want a multiple of num_heads = 2");
  EXPECT_EQ(RefusalOf("value_dim", 25),
            "value_dim: 25; want a multiple of num_heads = 2");
}

TEST(ModelConfig, RefusesALengthThatIsNoPowerOfTwoTimesTheBase) {
  for (const int length : {4, 6, 24, 33, 31}) {
    EXPECT_THAT(ConfigRefusal([&](json& config) {
                  config["long_conv"]["length"] = length;
                }),
                HasSubstr("long_conv.length: " + std::to_string(length) +
                          "; want base_length * 2^S, S >= 1"));
  }
}

TEST(ModelConfig, RefusesAnOddOrSmallBase) {
  EXPECT_EQ(ConfigRefusal(
                [](json& config) { config["long_conv"]["base_length"] = 5; }),
            "long_conv.base_length: 5; want an even number");
  EXPECT_THAT(ConfigRefusal(
                  [](json& config) { config["long_conv"]["base_length"] = 2; }),
              HasSubstr("long_conv.base_length: 2; want an integer in [4, "));
}

TEST(ModelConfig, AcceptsABaseThatIsNoPowerOfTwo) {
  json config = Valid();
  config["long_conv"] = {
      {"kind", "hierarchical"}, {"length", 48}, {"base_length", 6}};
  const auto parsed = ModelConfig::Parse(config.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->levels(), 3);
  EXPECT_EQ(parsed->long_conv_state_rows(), 6 + 3 * 4 + 3);
}

TEST(ModelConfig, RefusesAnEpsilonThatFloat32CannotHold) {
  for (const double eps : {0.0, -1e-5, 1e-50, 2.0}) {
    EXPECT_THAT(RefusalOf("norm_eps", eps), HasSubstr("norm_eps: "));
  }
}

TEST(ModelConfig, RefusesAMultiplierThatFloat32CannotHold) {
  EXPECT_THAT(RefusalOf("embedding_multiplier", 1e39),
              HasSubstr("embedding_multiplier: 1e+39; want a number in"));
}

TEST(ModelConfig, RefusesSpecialTokensOutsideTheVocabulary) {
  EXPECT_EQ(RefusalOf("bos_token_id", 258),
            "bos_token_id: 258; want an integer in [0, 257]");
  EXPECT_EQ(RefusalOf("eos_token_id", -1),
            "eos_token_id: -1; want an integer in [0, 257]");
}

TEST(ModelConfig, RefusesATokenizerItDoesNotKnow) {
  EXPECT_EQ(RefusalOf("tokenizer", "words"),
            "tokenizer: \"words\"; want \"bytes\"");
}

TEST(ModelConfig, ListsUnknownKeysAtEveryDepth) {
  json config = Valid();
  config["rope_theta"] = 10000;
  config["short_conv"]["dilation"] = 2;
  config["long_conv"]["decay"] = 0.5;

  const auto parsed = ModelConfig::Parse(config.dump());

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->unknown_keys,
              testing::UnorderedElementsAre("rope_theta", "short_conv.dilation",
                                            "long_conv.decay"));
}

TEST(ModelConfig, LaysOutAStateWithoutGaps) {
  const ModelConfig config = test_support::TinyConfig();
  const StateLayout layout = config.state_layout();
  EXPECT_EQ(layout.short_conv, 0);
  EXPECT_EQ(layout.attention, 2 * 16);           // (K - 1) d
  EXPECT_EQ(layout.long_conv, 32 + 2 * 4 * 12);  // + H dk dv
  EXPECT_EQ(layout.layer_floats, 128 + 16 * (4 + 3 * 3 + 3));
  EXPECT_EQ(layout.slot_floats, 2 * layout.layer_floats);
  EXPECT_EQ(layout.slot_bytes(), 4 * layout.slot_floats);
}

TEST(ModelConfig, LaysOutTheRingOfAttentionReplay) {
  ModelConfig config = test_support::TinyConfig();
  const StateLayout without = config.state_layout();
  EXPECT_EQ(without.replay, without.long_conv);
  ASSERT_TRUE(config.SetAttentionReplay(8).ok());
  const StateLayout layout = config.state_layout();
  const int64_t ring = 8 * (config.shared_dim + config.value_dim);
  EXPECT_EQ(layout.replay, without.long_conv);
  EXPECT_EQ(layout.long_conv, without.long_conv + ring);
  EXPECT_EQ(layout.layer_floats, without.layer_floats + ring);
}

TEST(ModelConfig, LoadNamesTheFile) {
  const test_support::TempDir folder;
  const auto missing = ModelConfig::Load(folder.path());
  EXPECT_TRUE(absl::IsNotFound(missing.status())) << missing.status();
  folder.Write("config.json", "{\"vocab_size\": }");
  const auto broken = ModelConfig::Load(folder.path());
  EXPECT_TRUE(absl::IsInvalidArgument(broken.status()));
  EXPECT_THAT(
      std::string(broken.status().message()),
      HasSubstr(folder.path() + "/config.json: not JSON: syntax error"));
}

}  // namespace
}  // namespace chela
