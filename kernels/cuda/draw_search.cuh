// Sums and searches over one row by several blocks. All sums are integers, so
// they do not depend on who adds what.
#ifndef CHELA_KERNELS_CUDA_DRAW_SEARCH_CUH_
#define CHELA_KERNELS_CUDA_DRAW_SEARCH_CUH_

#include <cooperative_groups.h>

#include <climits>
#include <cstdint>

#include "kernels/cuda/device_math.cuh"

namespace chela::cuda {

inline constexpr int kDrawThreads = 256;
inline constexpr int kDrawWarps = kDrawThreads / 32;
inline constexpr int kDrawCluster = 8;  // blocks of a row, if not one
inline constexpr int kDigitBits = 8;
inline constexpr int kDigits = 1 << kDigitBits;
static_assert(kDigits == kDrawThreads, "a thread a digit");

// The larger key, of equal ones the lower id.
struct Best {
  uint32_t key = 0;
  int id = INT_MAX;
  __device__ __forceinline__ void Take(uint32_t other, int other_id) {
    if (other > key || (other == key && other_id < id)) {
      key = other;
      id = other_id;
    }
  }
};

// The searches of one draw, each with a place of its own for what the blocks
// tell each other: nothing is written twice, so that nobody waits for readers.
enum Search { kTopKTies, kTopPTotal, kTopPTies, kToken, kSearches };

// What the blocks of a row tell each other. No block ends while others may read
// this.
struct DrawShared {
  Best warp_best[kDrawWarps];
  Best block_best;
  uint64_t warp_sums[kDrawWarps];
  uint64_t block_sums[kSearches];
  // A histogram over digits, 64 bits in two words, for two passes in turn.
  uint32_t low[2][kDigits];
  uint32_t high[2][kDigits];
  // Of the digit that was chosen.
  uint64_t above;
  uint64_t inside;
  int digit;
  int found[kSearches];  // ids; in the first block
};

// The blocks that share a row: a cluster, or one. They call everything
// together.
template <bool kClusters>
struct Team {
  static constexpr int kSize = kClusters ? kDrawCluster : 1;
  static __device__ __forceinline__ int Rank() {
    return kClusters ? static_cast<int>(blockIdx.x) % kDrawCluster : 0;
  }
  static __device__ __forceinline__ int Row() {
    return static_cast<int>(blockIdx.x) / kSize;
  }
  static __device__ __forceinline__ void Sync() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters) return cooperative_groups::this_cluster().sync();
#endif
    __syncthreads();
  }
  static __device__ __forceinline__ DrawShared& Of(DrawShared& mine, int rank) {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters) {
      return *cooperative_groups::this_cluster().map_shared_rank(&mine, rank);
    }
#endif
    return mine;
  }
  static __device__ __forceinline__ int Thread() {
    return Rank() * kDrawThreads + static_cast<int>(threadIdx.x);
  }
  static constexpr int kThreads = kSize * kDrawThreads;
};

__device__ __forceinline__ uint64_t WarpTotal(uint64_t x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kWholeWarp, x, offset);
  }
  return x;
}

// The sum up to and with this lane's.
__device__ __forceinline__ uint64_t WarpUpTo(uint64_t x) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t before = __shfl_up_sync(kWholeWarp, x, offset);
    if (lane >= offset) x += before;
  }
  return x;
}

// A warp's ids, in order: those of a team follow each other by warp.
struct IdRange {
  int begin;
  int end;
};
template <typename T>
__device__ __forceinline__ IdRange IdsOfWarp(int vocab) {
  constexpr int kWarps = T::kSize * kDrawWarps;
  const int part = ((vocab + kWarps - 1) / kWarps + 31) / 32 * 32;
  const int begin = min(T::Thread() / 32 * part, vocab);
  return {begin, min(begin + part, vocab)};
}

// Where a warp's ids stand in the sum over a row.
struct RowSum {
  uint64_t total;   // of the row
  uint64_t before;  // this warp's ids
  uint64_t own;     // of this warp's ids
};

// value(id) over the row.
template <typename T, Search kSearch, typename Value>
__device__ RowSum SumRow(DrawShared& shared, int vocab, const Value& value) {
  const IdRange ids = IdsOfWarp<T>(vocab);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  uint64_t mine = 0;
#pragma unroll 4
  for (int i = ids.begin + lane; i < ids.end; i += 32) mine += value(i);
  const uint64_t own = WarpTotal(mine);
  if (lane == 0) shared.warp_sums[warp] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    uint64_t sum = 0;
    for (int i = 0; i < kDrawWarps; ++i) sum += shared.warp_sums[i];
    shared.block_sums[kSearch] = sum;
  }
  T::Sync();
  RowSum sum = {0, 0, own};
  for (int i = 0; i < T::kSize; ++i) {
    const uint64_t other = T::Of(shared, i).block_sums[kSearch];
    if (i < T::Rank()) sum.before += other;
    sum.total += other;
  }
  for (int i = 0; i < warp; ++i) sum.before += shared.warp_sums[i];
  __syncthreads();  // before the warps' sums are written again
  return sum;
}

// Whether the first id at which the running sum of value exceeds `target`,
// which is below the total, is this warp's; then *id is that one. `sum` is
// SumRow's. The same in all lanes.
template <typename T, typename Value>
__device__ bool FindInWarp(int vocab, const RowSum& sum, uint64_t target,
                           const Value& value, int* id) {
  if (sum.before > target || target >= sum.before + sum.own) return false;
  const IdRange ids = IdsOfWarp<T>(vocab);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto at = [&](int i) { return i < ids.end ? value(i) : uint64_t{0}; };
  // Several lines of ids at once, then the lines of those that reach it.
  constexpr int kLines = 4;
  uint64_t reached = sum.before;
  int first = ids.begin;
  for (; first < ids.end; first += kLines * 32) {
    uint64_t own = 0;
#pragma unroll
    for (int line = 0; line < kLines; ++line) {
      own += at(first + line * 32 + lane);
    }
    own = WarpTotal(own);
    if (reached + own > target) break;
    reached += own;
  }
  for (; first < ids.end; first += 32) {
    const uint64_t upto = reached + WarpUpTo(at(first + lane));
    const unsigned past = __ballot_sync(kWholeWarp, upto > target);
    if (past != 0) {
      *id = first + __ffs(past) - 1;
      return true;
    }
    reached = __shfl_sync(kWholeWarp, upto, 31);
  }
  return false;  // never
}

// That id, for every thread.
template <typename T, Search kSearch, typename Value>
__device__ int FindInRow(DrawShared& shared, int vocab, const RowSum& sum,
                         uint64_t target, const Value& value) {
  int id = 0;
  if (FindInWarp<T>(vocab, sum, target, value, &id) && threadIdx.x % 32 == 0) {
    T::Of(shared, 0).found[kSearch] = id;
  }
  T::Sync();
  return T::Of(shared, 0).found[kSearch];
}

// Tokens above a border: those of a larger key, and of the key itself those up
// to an id.
struct Border {
  uint32_t key = 0;
  int last_id = INT_MAX;
  __device__ __forceinline__ bool Keeps(uint32_t other, int id) const {
    return other > key || (other == key && id <= last_id);
  }
};

__device__ __forceinline__ void AddToDigit(uint32_t* low, uint32_t* high,
                                           uint32_t digit, uint64_t value) {
  const auto value_low = static_cast<uint32_t>(value);
  auto value_high = static_cast<uint32_t>(value >> 32);
  const uint32_t before = atomicAdd(&low[digit], value_low);
  if (before + value_low < before) ++value_high;
  if (value_high != 0) atomicAdd(&high[digit], value_high);
}

// Finds the digit, from the largest down, in which `above` plus the sum over
// digits reaches `goal`: digit, above and inside of `shared`.
template <typename T>
__device__ void ChooseDigit(DrawShared& shared, int turn, uint64_t above,
                            uint64_t goal) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int digit = kDigits - 1 - static_cast<int>(threadIdx.x);
  uint64_t own = 0;
  for (int i = 0; i < T::kSize; ++i) {
    const DrawShared& other = T::Of(shared, i);
    own += other.low[turn][digit] + (uint64_t{other.high[turn][digit]} << 32);
  }
  uint64_t upto = WarpUpTo(own);
  if (threadIdx.x % 32 == 31) shared.warp_sums[warp] = upto;
  __syncthreads();
  for (int i = 0; i < warp; ++i) upto += shared.warp_sums[i];
  upto += above;
  if (upto - own < goal && goal <= upto) {
    shared.digit = digit;
    shared.above = upto - own;
    shared.inside = own;
  }
  __syncthreads();
}

// The border of the fewest tokens, by descending key and then by ascending id,
// whose values sum to at least `goal`, from 1 to the sum of all. key_of(id) and
// value(id); tokens of one key have one value, of_key(key), if any.
template <typename T, Search kTies, typename KeyOf, typename Value,
          typename OfKey>
__device__ Border FindBorder(DrawShared& shared, int vocab, uint64_t goal,
                             const KeyOf& key_of, const Value& value,
                             const OfKey& of_key) {
  uint32_t prefix = 0;
  uint64_t above = 0;
  uint64_t inside = 0;
  int turn = 0;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    // The other blocks have read this pass's histogram before the last Sync.
    turn ^= 1;
    uint32_t* const low = shared.low[turn];
    uint32_t* const high = shared.high[turn];
    low[threadIdx.x] = 0;
    high[threadIdx.x] = 0;
    __syncthreads();
    for (int i = T::Thread(); i < vocab; i += T::kThreads) {
      const uint32_t key = key_of(i);
      if ((uint64_t{key} >> (shift + kDigitBits)) != prefix) continue;
      const uint64_t own = value(i);
      if (own != 0) AddToDigit(low, high, (key >> shift) % kDigits, own);
    }
    T::Sync();
    ChooseDigit<T>(shared, turn, above, goal);
    prefix = prefix << kDigitBits | static_cast<uint32_t>(shared.digit);
    above = shared.above;
    inside = shared.inside;
  }
  Border border = {prefix, INT_MAX};
  const uint64_t one = of_key(prefix);
  const uint64_t wanted = (goal - above + one - 1) / one;
  if (wanted == inside / one) return border;
  const auto ties = [&](int i) -> uint64_t {
    return key_of(i) == border.key && value(i) != 0 ? 1 : 0;
  };
  const RowSum sum = SumRow<T, kTies>(shared, vocab, ties);
  border.last_id = FindInRow<T, kTies>(shared, vocab, sum, wanted - 1, ties);
  return border;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_DRAW_SEARCH_CUH_
