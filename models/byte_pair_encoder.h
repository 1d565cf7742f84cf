#ifndef CHELA_MODELS_BYTE_PAIR_ENCODER_H_
#define CHELA_MODELS_BYTE_PAIR_ENCODER_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace chela {

// Byte-pair encoding (Sennrich et al., arXiv 1508.07909) of one piece of text.
//
// It begins with one token a byte and, as long as a neighbouring pair has a
// merge, replaces the pair whose merge has the lowest rank, the leftmost of
// equals, by the merge's token. A piece of n bytes takes O(n log n).
//
// Immutable and thread-safe.
class BytePairEncoder {
 public:
  struct Merge {
    int32_t left = 0;
    int32_t right = 0;
    int32_t merged = 0;
  };

  // byte_ids: the token of each byte. merges: by rank, each pair once.
  BytePairEncoder(const std::array<int32_t, 256>& byte_ids,
                  const std::vector<Merge>& merges);

  // Makes Append give `id` for the piece `bytes`: where that is what the
  // merges give anyhow it saves the work, else it overrides them.
  void AddWord(const std::string& bytes, int32_t id) { words_[bytes] = id; }

  // The ids of `piece` by the merges alone.
  std::vector<int32_t> MergeAll(std::string_view piece) const;
  // Appends the ids of `piece`.
  void Append(std::string_view piece, std::vector<int32_t>* ids) const;

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  struct Target {
    uint32_t rank = kNoRank;
    int32_t id = 0;
  };
  Target Find(int32_t left, int32_t right) const;
  void AppendShort(std::string_view piece, std::vector<int32_t>* ids) const;
  void AppendLong(std::string_view piece, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Target> merges_;  // by the pair
  absl::flat_hash_map<std::string, int32_t> words_;
};

}  // namespace chela

#endif  // CHELA_MODELS_BYTE_PAIR_ENCODER_H_
