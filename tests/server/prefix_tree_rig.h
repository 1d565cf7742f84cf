#ifndef CHELA_TESTS_SERVER_PREFIX_TREE_RIG_H_
#define CHELA_TESTS_SERVER_PREFIX_TREE_RIG_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "server/engine/prefix_tree.h"

namespace chela::test_support {

// A prefix tree that holds all that a test puts there, and a search that goes
// as far as it can.
inline constexpr int64_t kAmple = 1 << 30;
inline constexpr int64_t kNoLimit = 1 << 20;

// A state on the host that is known again by its mark.
inline CachedState Marked(int32_t mark) {
  auto bytes = std::make_unique<std::byte[]>(sizeof(mark));
  std::memcpy(bytes.get(), &mark, sizeof(mark));
  return {.slot = {}, .bytes = std::move(bytes)};
}

inline int32_t MarkOf(const PrefixTree::Node& node) {
  int32_t mark = 0;
  std::memcpy(&mark, PrefixTree::StateOf(node).bytes.get(), sizeof(mark));
  return mark;
}

// The tokens first, first + 1, ...
inline std::vector<int32_t> Count(int32_t first, int32_t count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_PREFIX_TREE_RIG_H_
