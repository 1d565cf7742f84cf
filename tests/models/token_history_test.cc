#include "models/token_history.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>
#include <vector>

namespace chela {
namespace {

using Counts = std::map<int32_t, std::pair<int32_t, int32_t>>;

Counts CountsOf(const TokenHistory& history) {
  Counts counts;
  for (const TokenHistory::Entry& entry : history.entries()) {
    EXPECT_EQ(counts.count(entry.token), 0u) << "twice: " << entry.token;
    counts[entry.token] = {entry.in_prompt, entry.generated};
  }
  return counts;
}

TEST(TokenHistory, CountsPromptAndGeneratedTokensApart) {
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{3, 70000, 3});
  history.AddGenerated(3);
  history.AddGenerated(0);
  EXPECT_EQ(CountsOf(history),
            (Counts{{3, {2, 1}}, {70000, {1, 0}}, {0, {0, 1}}}));
}

TEST(TokenHistory, IsEmptyAtFirst) {
  EXPECT_TRUE(TokenHistory().entries().empty());
}

TEST(TokenHistory, HoldsExactlyTheWindow) {
  std::mt19937 random(1);
  for (const int window : {1, 3, 17, 1000}) {
    std::vector<std::pair<int32_t, bool>> all;
    TokenHistory history(window);
    std::vector<int32_t> prompt(40);
    for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 9);
    for (const int32_t token : prompt) all.emplace_back(token, false);
    history.AddPrompt(prompt);
    for (int i = 0; i < 60; ++i) {
      Counts want;
      const size_t first =
          all.size() > static_cast<size_t>(window) ? all.size() - window : 0;
      for (size_t j = first; j < all.size(); ++j) {
        ++(all[j].second ? want[all[j].first].second
                         : want[all[j].first].first);
      }
      EXPECT_EQ(CountsOf(history), want) << window << ", after " << all.size();
      const auto token = static_cast<int32_t>(random() % 9);
      history.AddGenerated(token);
      all.emplace_back(token, true);
    }
  }
}

TEST(TokenHistory, CopiesAreIndependent) {
  TokenHistory history(2);
  history.AddGenerated(1);
  TokenHistory copy = history;
  copy.AddGenerated(2);
  copy.AddGenerated(3);
  EXPECT_EQ(CountsOf(history), (Counts{{1, {0, 1}}}));
  EXPECT_EQ(CountsOf(copy), (Counts{{2, {0, 1}}, {3, {0, 1}}}));
}

}  // namespace
}  // namespace chela
