#include "server/engine/token_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <span>
#include <vector>

namespace chela {
namespace {

// Expected values come from XXH64's specification, worked out by hand: other
// machines and versions must find the hashes that are in stored snapshots.
TEST(TokenHashTest, IsTheDocumentedChainOfXxh64) {
  const std::vector<int32_t> tokens = {1, 0, 8191, -1, 0x01020304};
  EXPECT_EQ(HashTokens({}), kNoTokensHash);
  const std::span<const int32_t> all(tokens);
  EXPECT_EQ(HashTokens(all.first(1)), 0xf42f94001fcb5351u);
  EXPECT_EQ(HashTokens(all.first(2)), 0x6d2e3da976daf053u);
  EXPECT_EQ(HashTokens(all.first(3)), 0xbc3033121c6a66d1u);
  EXPECT_EQ(HashTokens(all.first(4)), 0xe1512b59e4d51a4au);
  EXPECT_EQ(HashTokens(all), 0xdcfa5b2da0174cc1u);
}

TEST(TokenHashTest, GoesOnFromTheHashOfTheTokensBefore) {
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9};
  const std::span<const int32_t> all(tokens);
  for (size_t cut = 0; cut <= tokens.size(); ++cut) {
    EXPECT_EQ(HashTokens(all.subspan(cut), HashTokens(all.first(cut))),
              HashTokens(all));
  }
}

TEST(TokenHashTest, KnowsOrderLengthAndValue) {
  const std::set<uint64_t> hashes = {
      HashTokens(std::vector<int32_t>{}),     HashTokens(std::vector{0}),
      HashTokens(std::vector{0, 0}),          HashTokens(std::vector{1, 2}),
      HashTokens(std::vector{2, 1}),          HashTokens(std::vector{1, 2, 0}),
      HashTokens(std::vector{1, 2, 1 << 24}),
  };
  EXPECT_EQ(hashes.size(), 7u);
}

}  // namespace
}  // namespace chela
