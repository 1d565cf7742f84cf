// The left operands of a half group's outputs, and their products with what the
// block has in shared memory.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_FRAGMENTS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_FRAGMENTS_CUH_

#include <cstdint>

#include "kernels/cuda/attention_group_tile.cuh"

namespace chela::cuda {

inline constexpr int kOutputThreads = 256;
inline constexpr int kOutputWarps = kOutputThreads / 32;
inline constexpr int kFragmentsAhead = 3;

// A block's shared memory.
struct OutputMemory {
  __device__ explicit OutputMemory(void* memory)
      : values(static_cast<__half*>(memory), kHalfTokens),
        state(values.low + kHalfTokens * 64, kTileKeys),
        fragments(state.low + kTileKeys * 64),
        powers(reinterpret_cast<float*>(fragments + kOutputWarps * kRing)),
        squares(powers + kGroupTokens + 4),
        largest(
            reinterpret_cast<uint32_t*>(squares + kMaxCluster * kHalfTokens)) {}
  static constexpr int kRing = kFragmentsAhead * kFragmentHalves;
  static constexpr size_t kBytes =
      ((2 * kHalfTokens + 2 * kTileKeys) * 64 + kOutputWarps * kRing) *
          sizeof(__half) +
      (kGroupTokens + 4 + kMaxCluster * kHalfTokens + kOutputWarps) *
          sizeof(float);
  SplitPlanes values;
  SplitPlanes state;  // at the group's start
  __half* fragments;  // [warps, 3]
  float* powers;      // [257]
  float* squares;     // [8, 128]: of every tile of the head
  uint32_t* largest;  // [warps]
};

// A warp's left fragments on their way through shared memory: a row tile's
// queries, then its scores. A lane reads what itself has copied, so that nobody
// waits for others.
class FragmentRing {
 public:
  // With the first copies under way, of none if the tokens do not exist.
  __device__ FragmentRing(const Tile& tile, const OutputMemory& memory,
                          bool zero, int first_token)
      : lane_(memory.fragments + threadIdx.x / 32 * OutputMemory::kRing +
              threadIdx.x % 32 * 8),
        scores_(tile.scratch.scores +
                (tile.place + first_token) * 2 * kHalfTokens +
                threadIdx.x % 32 * 8),
        from_(zero ? scores_
                   : tile.scratch.queries +
                         (tile.place + first_token) * 2 * kTileKeys +
                         threadIdx.x % 32 * 8),
        queries_(zero ? 0 : kTileKeys / 16),
        left_(first_token < tile.count
                  ? queries_ + first_token % kHalfTokens / 16 + 1
                  : 0) {
#pragma unroll
    for (int i = 0; i < kFragmentsAhead; ++i) Start();
  }
  // The oldest fragment; another one takes its place.
  __device__ __forceinline__ LeftHalves Take() {
    WaitForCopies<kFragmentsAhead - 1>();
    const uint4 high = *reinterpret_cast<const uint4*>(lane_ + at_);
    const uint4 low =
        *reinterpret_cast<const uint4*>(lane_ + at_ + kFragmentHalves / 2);
    Start();
    return {{high.x, high.y, high.z, high.w}, {low.x, low.y, low.z, low.w}};
  }

 private:
  __device__ __forceinline__ void Start() {
    if (left_ > 0) {
      StartCopy(from_, true, lane_ + at_);
      StartCopy(from_ + kFragmentHalves / 2, true,
                lane_ + at_ + kFragmentHalves / 2);
      --left_;
      --queries_;
      from_ = queries_ == 0 ? scores_ : from_ + kFragmentHalves;
    }
    EndCopies();
    at_ = at_ == OutputMemory::kRing - kFragmentHalves ? 0
                                                       : at_ + kFragmentHalves;
  }

  __half* lane_;
  const __half* scores_;
  const __half* from_;
  int queries_;  // to start
  int left_;     // to start
  int at_ = 0;
};

// sums += the ring's next `count` left fragments times rows of planes of kRows,
// 16 a fragment.
template <int kRows>
__device__ __forceinline__ void AddFragments(int count, const __half* planes,
                                             FragmentRing* ring,
                                             WarpSums<8>* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t at[4];
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {
    at[pair] =
        SharedAddress(planes + HalfAt(lane % 16, 16 * pair + lane / 16 * 8));
  }
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const LeftHalves left = ring->Take();
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      uint32_t high[4];
      uint32_t low[4];
      LoadMatricesAt(at[pair], high);
      LoadMatricesAt(at[pair] + kRows * kRowBytes, low);
      AddPair(left, high, low, pair, sums);
      at[pair] += 16 * kRowBytes;
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_FRAGMENTS_CUH_
