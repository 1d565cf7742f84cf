// Broken and hostile tokenizer.json files.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "models/byte_level_tokenizer.h"
#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using test_support::TokenizerConfig;
using test_support::TokenizerData;

// Whatever a broken file holds, loading ends with a status, and what loads all
// the same encodes and decodes.
TEST(TokenizerJsonDamage, SurvivesRandomDamage) {
  std::mt19937 random(1);
  int loaded = 0;
  for (const std::string name : {"flags.json", "llama3.json", "qwen2.json"}) {
    const std::string good = TokenizerData(name);
    for (int round = 0; round < 150; ++round) {
      std::string bytes = good;
      for (size_t hits = 1 + random() % 3; hits > 0; --hits) {
        // Half of the damage hits what stands around the vocabulary.
        const size_t range = random() % 2 == 0 ? bytes.size() : 1500;
        bytes[random() % range] = static_cast<char>(
            random() % 2 == 0 ? random() : ' ' + random() % 90);
      }
      if (random() % 8 == 0) bytes.resize(random() % bytes.size());
      const auto tokenizer =
          ByteLevelTokenizer::Create(bytes, TokenizerConfig());
      if (!tokenizer.ok()) continue;
      ++loaded;
      const std::string text = "It was\xFF the <mask> best of times.\n";
      EXPECT_TRUE((*tokenizer)->Decode((*tokenizer)->Encode(text)).ok());
      EXPECT_LE((*tokenizer)->StablePrefix(text), text.size());
    }
  }
  EXPECT_GT(loaded, 0);
}

}  // namespace
}  // namespace chela
