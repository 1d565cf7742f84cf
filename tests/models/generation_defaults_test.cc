#include "models/generation_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string DefaultsRefusal(const std::string& json) {
  const auto parsed = GenerationDefaults::Parse(json);
  return parsed.ok() ? "accepted" : std::string(parsed.status().message());
}

TEST(GenerationDefaults, ReadsEveryField) {
  const auto defaults = GenerationDefaults::Parse(
      R"({"temperature": 0.7, "top_k": 40, "top_p": 0.9, "max_tokens": 64,
          "min_tokens": 2, "min_p": 0.1, "typical_p": 0.8,
          "repetition_penalty": 1.1, "presence_penalty": -0.5,
          "frequency_penalty": 0.25, "penalty_window": 128})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0.7);
  EXPECT_EQ(defaults->top_k, 40);
  EXPECT_EQ(defaults->top_p, 0.9);
  EXPECT_EQ(defaults->max_tokens, 64);
  EXPECT_EQ(defaults->min_tokens, 2);
  EXPECT_EQ(defaults->min_p, 0.1);
  EXPECT_EQ(defaults->typical_p, 0.8);
  EXPECT_EQ(defaults->repetition_penalty, 1.1);
  EXPECT_EQ(defaults->presence_penalty, -0.5);
  EXPECT_EQ(defaults->frequency_penalty, 0.25);
  EXPECT_EQ(defaults->penalty_window, 128);
  EXPECT_TRUE(defaults->unknown_keys.empty());
}

TEST(GenerationDefaults, KeepsAbsentAndNullFieldsAbsent) {
  const auto defaults = GenerationDefaults::Parse(R"({"top_k": null})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_FALSE(defaults->temperature.has_value());
  EXPECT_FALSE(defaults->top_k.has_value());
  EXPECT_FALSE(defaults->top_p.has_value());
  EXPECT_FALSE(defaults->max_tokens.has_value());
}

TEST(GenerationDefaults, TakesMaxNewTokensAsMaxTokens) {
  EXPECT_EQ(GenerationDefaults::Parse(R"({"max_new_tokens": 7})")->max_tokens,
            7);
  EXPECT_EQ(DefaultsRefusal(R"({"max_tokens": 7, "max_new_tokens": 7})"),
            "accepted");
  EXPECT_EQ(DefaultsRefusal(R"({"max_tokens": 7, "max_new_tokens": 8})"),
            "max_new_tokens: 8; want the same as max_tokens = 7");
}

TEST(GenerationDefaults, ListsUnknownKeys) {
  const auto defaults = GenerationDefaults::Parse(
      R"({"do_sample": true, "top_k": 1, "transformers_version": "5"})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->unknown_keys,
              ElementsAre("do_sample", "transformers_version"));
}

TEST(GenerationDefaults, RefusesValuesOutOfRange) {
  EXPECT_EQ(DefaultsRefusal(R"({"temperature": 101})"),
            "temperature: 101; want a number in [0, 100]");
  EXPECT_EQ(DefaultsRefusal(R"({"top_k": -1})"),
            "top_k: -1; want an integer in [0, 2147483647]");
  EXPECT_EQ(DefaultsRefusal(R"({"top_p": 0})"),
            "top_p: 0; want a number in (0, 1]");
  EXPECT_EQ(DefaultsRefusal(R"({"top_p": "0.5"})"),
            "top_p: \"0.5\"; want a number in (0, 1]");
  EXPECT_EQ(DefaultsRefusal(R"({"repetition_penalty": 0})"),
            "repetition_penalty: 0; want a number in (0, 100]");
  EXPECT_EQ(DefaultsRefusal(R"({"presence_penalty": 3})"),
            "presence_penalty: 3; want a number in [-2, 2]");
  EXPECT_EQ(DefaultsRefusal(R"({"min_p": 1.5})"),
            "min_p: 1.5; want a number in [0, 1]");
  EXPECT_EQ(DefaultsRefusal(R"({"max_tokens": 0})"),
            "max_tokens: 0; want an integer in [1, 2147483647]");
}

TEST(GenerationDefaults, IsEmptyWithoutAFileAndNamesABrokenOne) {
  const test_support::TempDir folder;
  const auto none = GenerationDefaults::Load(folder.path());
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_FALSE(none->temperature.has_value());
  folder.Write("generation_config.json", "[]");
  const auto broken = GenerationDefaults::Load(folder.path());
  EXPECT_THAT(std::string(broken.status().message()),
              HasSubstr(folder.path() + "/generation_config.json: found"));
}

}  // namespace
}  // namespace chela
