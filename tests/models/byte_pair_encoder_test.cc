#include "models/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace chela {
namespace {

using Ids = std::vector<int32_t>;
using Merge = BytePairEncoder::Merge;

std::array<int32_t, 256> Bytes() {
  std::array<int32_t, 256> ids = {};
  for (size_t byte = 0; byte < 256; ++byte) {
    ids[byte] = static_cast<int32_t>(byte);
  }
  return ids;
}

// Random merges of tokens that there are, over the letters a to d.
std::vector<Merge> RandomMerges(std::mt19937& random, int32_t count) {
  std::vector<int32_t> tokens = {'a', 'b', 'c', 'd'};
  std::set<std::pair<int32_t, int32_t>> pairs;
  std::vector<Merge> merges;
  while (static_cast<int32_t>(merges.size()) < count) {
    const int32_t left = tokens[random() % tokens.size()];
    const int32_t right = tokens[random() % tokens.size()];
    if (!pairs.emplace(left, right).second) continue;
    const auto merged = static_cast<int32_t>(256 + merges.size());
    merges.push_back({left, right, merged});
    tokens.push_back(merged);
  }
  return merges;
}

// By the definition in the header.
Ids Naive(const std::vector<Merge>& merges, std::string_view piece) {
  Ids ids;
  for (const char byte : piece) ids.push_back(static_cast<uint8_t>(byte));
  for (bool found = true; found;) {
    found = false;
    for (const Merge& merge : merges) {
      for (size_t i = 0; i + 1 < ids.size() && !found; ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = merge.merged;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        found = true;
      }
      if (found) break;
    }
  }
  return ids;
}

TEST(BytePairEncoder, MergesTheLowestRankFirstAndTheLeftmostOfEquals) {
  std::mt19937 random(4);
  for (int round = 0; round < 60; ++round) {
    const std::vector<Merge> merges = RandomMerges(random, 1 + random() % 40);
    const BytePairEncoder encoder(Bytes(), merges);
    // Both sides of the length at which the method changes.
    for (const size_t size : {1u, 2u, 3u, 17u, 63u, 64u, 65u, 66u, 200u}) {
      std::string piece;
      for (size_t i = 0; i < size; ++i) piece += "abcd"[random() % 4];
      if (round % 3 == 0) piece.assign(size, 'a');
      ASSERT_EQ(encoder.MergeAll(piece), Naive(merges, piece)) << piece;
      Ids ids = {7};
      encoder.Append(piece, &ids);
      ids.erase(ids.begin());
      ASSERT_EQ(ids, Naive(merges, piece));
    }
  }
}

TEST(BytePairEncoder, AWordOverridesTheMerges) {
  BytePairEncoder encoder(Bytes(), {{'a', 'b', 256}});
  encoder.AddWord("abb", 300);
  Ids ids;
  encoder.Append("abb", &ids);
  encoder.Append("abba", &ids);
  EXPECT_EQ(ids, (Ids{300, 256, 'b', 'a'}));
  EXPECT_EQ(encoder.MergeAll("abb"), (Ids{256, 'b'}));
}

// Looking at every pair for every merge would take hours.
TEST(BytePairEncoder, ALongPieceTakesAboutLinearTime) {
  std::mt19937 random(6);
  const std::vector<Merge> merges = RandomMerges(random, 200);
  const BytePairEncoder encoder(Bytes(), merges);
  std::string piece;
  for (size_t i = 0; i < 1'000'000; ++i) piece += "abcd"[random() % 4];
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_LT(encoder.MergeAll(piece).size(), piece.size());
  EXPECT_LT(encoder.MergeAll(std::string(1'000'000, 'a')).size(), 1'000'001u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace chela
