#include "models/byte_pair_encoder.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "absl/strings/string_view.h"

namespace chela {
namespace {

// Up to so many bytes looking at every pair each time is faster than a queue.
constexpr size_t kShort = 64;

uint64_t PairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 |
         static_cast<uint32_t>(right);
}

}  // namespace

BytePairEncoder::BytePairEncoder(const std::array<int32_t, 256>& byte_ids,
                                 const std::vector<Merge>& merges)
    : byte_ids_(byte_ids) {
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    merges_.emplace(PairKey(merge.left, merge.right),
                    Target{static_cast<uint32_t>(rank), merge.merged});
  }
}

BytePairEncoder::Target BytePairEncoder::Find(int32_t left,
                                              int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? Target{} : found->second;
}

std::vector<int32_t> BytePairEncoder::MergeAll(std::string_view piece) const {
  std::vector<int32_t> ids;
  if (piece.size() <= kShort) {
    AppendShort(piece, &ids);
  } else {
    AppendLong(piece, &ids);
  }
  return ids;
}

void BytePairEncoder::Append(std::string_view piece,
                             std::vector<int32_t>* ids) const {
  const auto word = words_.find(absl::string_view(piece.data(), piece.size()));
  if (word != words_.end()) {
    ids->push_back(word->second);
  } else if (piece.size() <= kShort) {
    AppendShort(piece, ids);
  } else {
    AppendLong(piece, ids);
  }
}

void BytePairEncoder::AppendShort(std::string_view piece,
                                  std::vector<int32_t>* ids) const {
  std::array<int32_t, kShort> tokens;
  std::array<Target, kShort> pairs;  // of each token and the next
  size_t size = piece.size();
  for (size_t i = 0; i < size; ++i) {
    tokens[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
    if (i > 0) pairs[i - 1] = Find(tokens[i - 1], tokens[i]);
  }
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoRank) break;
    tokens[best] = pairs[best].id;
    std::copy(tokens.begin() + best + 2, tokens.begin() + size,
              tokens.begin() + best + 1);
    std::copy(pairs.begin() + best + 1, pairs.begin() + size - 1,
              pairs.begin() + best);
    --size;
    if (best > 0) pairs[best - 1] = Find(tokens[best - 1], tokens[best]);
    if (best + 1 < size) pairs[best] = Find(tokens[best], tokens[best + 1]);
  }
  ids->insert(ids->end(), tokens.begin(), tokens.begin() + size);
}

void BytePairEncoder::AppendLong(std::string_view piece,
                                 std::vector<int32_t>* ids) const {
  struct Symbol {
    int32_t id = 0;
    uint32_t previous = 0;
    uint32_t next = 0;        // piece.size(): none
    uint32_t rank = kNoRank;  // of the merge with `next`
  };
  const auto size = static_cast<uint32_t>(piece.size());
  std::vector<Symbol> symbols(size);
  // Rank, then position. An entry is stale once the rank at its position has
  // changed: equal ranks are equal pairs.
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue;
  const auto look = [&](uint32_t at) {
    Symbol& symbol = symbols[at];
    symbol.rank = symbol.next == size
                      ? kNoRank
                      : Find(symbol.id, symbols[symbol.next].id).rank;
    if (symbol.rank != kNoRank) queue.push(uint64_t{symbol.rank} << 32 | at);
  };
  for (uint32_t i = 0; i < size; ++i) {
    symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, i + 1};
  }
  for (uint32_t i = 0; i < size; ++i) look(i);
  while (!queue.empty()) {
    const uint64_t top = queue.top();
    queue.pop();
    const auto at = static_cast<uint32_t>(top);
    Symbol& left = symbols[at];
    if (left.rank != top >> 32) continue;
    Symbol& right = symbols[left.next];
    left.id = Find(left.id, right.id).id;
    right.rank = kNoRank;
    left.next = right.next;
    if (left.next != size) symbols[left.next].previous = at;
    look(at);
    if (at > 0) look(left.previous);
  }
  for (uint32_t at = 0; at < size; at = symbols[at].next) {
    ids->push_back(symbols[at].id);
  }
}

}  // namespace chela
