#include "models/named_sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chela {
namespace {

struct Figures {
  const char* name;
  int64_t parameters;
  double slot_megabytes;  // hierarchical
  double attention_megabytes;
  double explicit_megabytes;  // the explicit long convolution's part
};

class NamedSizeTest : public testing::TestWithParam<Figures> {};

TEST_P(NamedSizeTest, HasTheParametersItIsNamedFor) {
  const auto config = NamedSize(GetParam().name, LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->parameters(), GetParam().parameters);
}

TEST_P(NamedSizeTest, HasTheStateItIsQuotedWith) {
  const auto config = NamedSize(GetParam().name, LongConvKind::kHierarchical);
  ASSERT_TRUE(config.ok()) << config.status();
  const StateLayout layout = config->state_layout();
  const double attention_floats =
      static_cast<double>(layout.long_conv - layout.attention) *
      config->num_hidden_layers;
  // The figures have two decimals.
  EXPECT_NEAR(static_cast<double>(layout.slot_bytes()) / 1e6,
              GetParam().slot_megabytes, 0.005);
  EXPECT_NEAR(attention_floats * 4 / 1e6, GetParam().attention_megabytes,
              0.005);
}

TEST_P(NamedSizeTest, HasTheExplicitStateItIsQuotedWith) {
  const auto config = NamedSize(GetParam().name, LongConvKind::kExplicit);
  ASSERT_TRUE(config.ok()) << config.status();
  const StateLayout layout = config->state_layout();
  const double floats =
      static_cast<double>(layout.layer_floats - layout.long_conv) *
      config->num_hidden_layers;
  EXPECT_NEAR(floats * 4 / 1e6, GetParam().explicit_megabytes, 0.5);
}

TEST_P(NamedSizeTest, IsAConfigThatParses) {
  for (const auto kind :
       {LongConvKind::kExplicit, LongConvKind::kHierarchical}) {
    const auto config = NamedSize(GetParam().name, kind);
    ASSERT_TRUE(config.ok()) << config.status();
    const auto parsed = ModelConfig::Parse(config->ToJson());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->ToJson(), config->ToJson());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, NamedSizeTest,
    testing::Values(Figures{"31m", 31376928, 2.88, 1.05, 134},
                    Figures{"125m", 127024164, 8.85, 4.72, 302},
                    Figures{"350m", 347642976, 23.59, 12.58, 805},
                    Figures{"1.3b", 1299265728, 47.19, 25.17, 1611}),
    [](const auto& test) {
      std::string name = test.param.name;
      for (char& c : name) c = c == '.' ? '_' : c;
      return name;
    });

TEST(NamedSizes, RefusesAnotherNameAndListsTheSizes) {
  const auto config = NamedSize("7b", LongConvKind::kHierarchical);
  EXPECT_TRUE(absl::IsInvalidArgument(config.status()));
  EXPECT_EQ(config.status().message(),
            "size: \"7b\"; want one of 31m, 125m, 350m, 1.3b");
}

}  // namespace
}  // namespace chela
