// Decode rows of the short and the hierarchical convolution.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kChannels = 32;  // of a block: a warp's width
constexpr int kGroups = 8;
constexpr int kThreads = kGroups * kChannels;
constexpr int kMaxLevels = 40;  // as Validate allows

// Everything that does not depend on this step's input is read and summed
// before the wait for the kernel in front: old rows of the rings, the levels
// that change now (a block enters a ring when it is B/2 - 1 >= 1 blocks old, so
// its two halves lie below it already), their sums.
struct Parts {
  float near[kGroups][kChannels];       // level 0 without lag 0
  float levels[kMaxLevels][kChannels];  // each level's own sum
  float short_sum[kChannels];           // without lag 0
};

struct Row {
  int64_t position = 0;
  int64_t slot = 0;
  int64_t row = 0;
  int channel = 0;
  bool in_width = false;
};

// Thread group `group` sums the level-0 lags that are `group` mod 8, and the
// levels group + 1, group + 9 ..
__device__ void SumHistory(const HierarchicalConvolution& op, const Row& at,
                           int group, int changed, Parts* parts) {
  const int lane = static_cast<int>(threadIdx.x) % kChannels;
  const int64_t width = op.width;
  float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  const int length = op.base_length;
  const int64_t seen = at.position + 1;
  const int held = static_cast<int>(seen < length ? seen : length);
  float near = 0;
  int row = static_cast<int>(at.position % length) - group;
  if (row < 0) row += length;
  for (int m = group; m < held; m += kGroups) {
    if (m > 0) {
      near = fmaf(op.taps0[m * width + at.channel], state[row * width], near);
    }
    row -= kGroups;
    while (row < 0) row += length;
  }
  parts->near[group][lane] = near;

  const int half = length / 2;
  for (int level = group + 1; level <= changed; level += kGroups) {
    const int64_t newest = (seen >> level) - half;
    float sum = 0;
    if (newest >= 0) {
      const int below = level == 1 ? length : half + 1;
      const float* from =
          state + (level == 1 ? 0 : length + (level - 2) * (half + 1)) * width;
      float* const ring = state + (length + (level - 1) * (half + 1)) * width;
      const float first = from[2 * newest % below * width];
      const float second = from[(2 * newest + 1) % below * width];
      const float block = 0.5f * (first + second);
      const float* taps =
          op.taps + int64_t{level - 1} * half * width + at.channel;
      const int count = static_cast<int>(newest + 1 < half ? newest + 1 : half);
      int ring_row = static_cast<int>(newest % (half + 1));
      sum = taps[0] * block;
      const int new_row = ring_row;
      for (int m = 1; m < count; ++m) {
        ring_row = ring_row == 0 ? half : ring_row - 1;
        sum = fmaf(taps[m * width], ring[ring_row * width], sum);
      }
      ring[new_row * width] = block;
    }
    parts->levels[level - 1][lane] = sum;
  }
}

// The sum of levels level .. S before this step; 0 if none was ever made.
__device__ float OldSum(const HierarchicalConvolution& op, const Row& at,
                        int level) {
  const int64_t row = op.base_length +
                      int64_t{op.levels} * (op.base_length / 2 + 1) + level - 1;
  if (level > op.levels || ((at.position + 1) >> level) == 0) return 0.0f;
  return op.state
      .data[at.slot * op.state.slot_stride + row * op.width + at.channel];
}

__device__ float SumShort(const ShortConvolution& op, const Row& at) {
  const int ring = op.taps - 1;
  const float* state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  float sum = op.bias[at.channel];
  for (int m = 1; m < op.taps && m <= at.position; ++m) {
    const float u = state[(at.position - m) % ring * op.width];
    sum = fmaf(op.weight[int64_t{op.taps - 1 - m} * op.width + at.channel], u,
               sum);
  }
  return sum;
}

// Writes u, a and the ring of u; returns a.
__device__ float FinishShort(const ShortConvolution& op, const Row& at,
                             const NormStatistics& statistics, float x,
                             float sum) {
  const float u = Normalize(op.norm, statistics, x, at.channel);
  const int ring = op.taps - 1;
  const float a =
      Silu(fmaf(op.weight[int64_t{ring} * op.width + at.channel], u, sum));
  op.u[at.row * op.width + at.channel] = u;
  op.a[at.row * op.width + at.channel] = a;
  if (ring == 0) return a;
  float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  if (at.position == 0) {
    // Nothing of the slot's last owner is ever saved with a new sequence.
    for (int r = 1; r < ring; ++r) state[int64_t{r} * op.width] = 0.0f;
  }
  state[at.position % ring * op.width] = u;
  return a;
}

__device__ void FinishLong(const HierarchicalConvolution& op, const Row& at,
                           int changed, float coarser, float a,
                           const Parts& parts) {
  const int lane = static_cast<int>(threadIdx.x) % kChannels;
  float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  float* const sums =
      state + (op.base_length + int64_t{op.levels} * (op.base_length / 2 + 1)) *
                  op.width;
  float sum = coarser;
  for (int level = changed; level >= 1; --level) {
    sum = parts.levels[level - 1][lane] + sum;
    sums[int64_t{level - 1} * op.width] = sum;
  }
  float c = 0;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) c += parts.near[group][lane];
  c += sum;
  c = fmaf(op.taps0[at.channel], a, c);
  c = fmaf(op.skip[at.channel], a, c);
  state[at.position % op.base_length * op.width] = a;
  op.c[at.row * op.width + at.channel] = c;
}

template <bool kShort, bool kLong>
__global__ void __launch_bounds__(kThreads) DecodeConvolutions(
    const __grid_constant__ ShortConvolution short_conv,
    const __grid_constant__ HierarchicalConvolution long_conv,
    const __grid_constant__ DecodeRows rows) {
  __shared__ Parts parts;
  const int width = kShort ? short_conv.width : long_conv.width;
  const int lane = static_cast<int>(threadIdx.x) % kChannels;
  const int group = static_cast<int>(threadIdx.x) / kChannels;
  const int index = static_cast<int>(blockIdx.y);
  const bool exists = index < *rows.count;
  LetLaterStart();
  Row at;
  int changed = 0;
  float coarser = 0;
  float short_sum = 0;
  if (exists) {
    at.row = rows.rows[index];
    at.slot = rows.slots[index];
    at.position = rows.positions[index];
    at.channel = static_cast<int>(blockIdx.x) * kChannels + lane;
    at.in_width = at.channel < width;
    if (kLong) {
      changed = min(__ffsll(at.position + 1) - 1, long_conv.levels);
      if (at.in_width) SumHistory(long_conv, at, group, changed, &parts);
      if (at.in_width && group == 0) {
        coarser = OldSum(long_conv, at, changed + 1);
      }
    }
    if (kShort && at.in_width && group == 0) {
      short_sum = SumShort(short_conv, at);
    }
  }
  WaitForEarlier();
  if (!exists) return;
  __syncthreads();
  if (group != 0) return;
  // One warp is left, which has the block's channels.
  NormStatistics statistics;
  if (kShort) {
    statistics = WarpNormStatistics(short_conv.x + at.row * width, width,
                                    short_conv.norm);
  }
  if (!at.in_width) return;
  float a;
  if (kShort) {
    const float x = __ldcg(short_conv.x + at.row * width + at.channel);
    a = FinishShort(short_conv, at, statistics, x, short_sum);
  } else {
    a = __ldcg(long_conv.a + at.row * width + at.channel);
  }
  if (kLong) FinishLong(long_conv, at, changed, coarser, a, parts);
}

}  // namespace

cudaError_t LaunchDecode(const ShortConvolution* short_conv,
                         const HierarchicalConvolution* hierarchical,
                         const DecodeRows& rows, int32_t max_rows, bool overlap,
                         cudaStream_t stream) {
  const int width =
      short_conv != nullptr ? short_conv->width : hierarchical->width;
  LaunchShape shape;
  shape.grid = dim3(Blocks(width, kChannels), static_cast<unsigned>(max_rows));
  shape.block = dim3(kThreads);
  shape.overlap = overlap;
  shape.stream = stream;
  if (hierarchical == nullptr) {
    return Launch(shape, DecodeConvolutions<true, false>, *short_conv,
                  HierarchicalConvolution{}, rows);
  }
  if (short_conv == nullptr) {
    return Launch(shape, DecodeConvolutions<false, true>, ShortConvolution{},
                  *hierarchical, rows);
  }
  return Launch(shape, DecodeConvolutions<true, true>, *short_conv,
                *hierarchical, rows);
}

}  // namespace chela::cuda
