// Decode rows of the short and the hierarchical convolution.
#include "kernels/cuda/channels.cuh"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kFewRowsWarps = 8;  // of a block, up to kFewRows rows
constexpr int kFewRows = 8;
constexpr int kMaxLevels = 40;  // as Validate allows

// Everything that does not depend on this step's input is read and summed
// before the wait for the kernel in front: old rows of the rings, the levels
// that change now (a block enters a ring when it is B/2 - 1 >= 1 blocks old, so
// its two halves lie below it already), their sums.
template <int V>
struct Parts {
  Channels<V> near[kResidues][kLanes];     // level 0 without lag 0
  Channels<V> levels[kMaxLevels][kLanes];  // each level's own sum
  Channels<V> short_sum[kLanes];           // without lag 0
};

// What the warp that ends the row needs besides the step's input and the
// others' sums: read before the wait.
template <int V>
struct Ends {
  Channels<V> short_tap;  // lag 0
  Channels<V> norm_weight;
  Channels<V> norm_bias;
  int short_row = 0;     // of the ring, where u goes
  Channels<V> coarser;   // levels that do not change now
  Channels<V> long_tap;  // lag 0
  Channels<V> skip;
  int long_row = 0;  // of level 0, where a goes
};

template <int V>
__device__ void LoadEnds(const ShortConvolution& op, const Row& at,
                         Ends<V>* ends) {
  const int ring = op.taps - 1;
  ends->norm_weight = Load<V>(op.norm.weight + at.channel);
  if (op.norm.kind == NormKind::kLayer) {
    ends->norm_bias = Load<V>(op.norm.bias + at.channel);
  }
  ends->short_tap = Load<V>(op.weight + int64_t{ring} * op.width + at.channel);
  if (ring > 0) ends->short_row = Mod(at.position, ring);
}

template <int V>
__device__ void LoadEnds(const HierarchicalConvolution& op, const Row& at,
                         int changed, Ends<V>* ends) {
  // The sum of the coarser levels before this step; 0 if none was ever made.
  if (changed < op.levels && ((at.position + 1) >> (changed + 1)) != 0) {
    const int64_t row = op.base_length +
                        int64_t{op.levels} * (op.base_length / 2 + 1) + changed;
    ends->coarser = Load<V>(op.state.data + at.slot * op.state.slot_stride +
                            row * op.width + at.channel);
  }
  ends->long_tap = Load<V>(op.taps0 + at.channel);
  ends->skip = Load<V>(op.skip + at.channel);
  ends->long_row = Mod(at.position, op.base_length);
}

// Writes u, a and the ring of u; returns a.
template <int V>
__device__ Channels<V> FinishShort(const ShortConvolution& op, const Row& at,
                                   const NormStatistics& statistics,
                                   const Channels<V>& x, const Ends<V>& ends,
                                   const Channels<V>& sum,
                                   const RoundedOut& copy) {
  Channels<V> u;
  Channels<V> a;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    u.v[i] =
        (x.v[i] - statistics.mean) * statistics.scale * ends.norm_weight.v[i];
    if (op.norm.kind == NormKind::kLayer) u.v[i] += ends.norm_bias.v[i];
    a.v[i] = Silu(fmaf(ends.short_tap.v[i], u.v[i], sum.v[i]));
  }
  Store(u, op.u + at.row * op.width + at.channel);
  Store(u, copy, at.row * op.width + at.channel);
  Store(a, op.a + at.row * op.width + at.channel);
  const int ring = op.taps - 1;
  if (ring == 0) return a;
  float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  if (at.position == 0) {
    // Nothing of the slot's last owner is ever saved with a new sequence.
    for (int r = 1; r < ring; ++r) {
      Store(Channels<V>{}, state + int64_t{r} * op.width);
    }
  }
  Store(u, state + int64_t{ends.short_row} * op.width);
  return a;
}

template <int V>
__device__ void FinishLong(const HierarchicalConvolution& op, const Row& at,
                           int changed, const Ends<V>& ends,
                           const Channels<V>& a, const Parts<V>& parts,
                           const RoundedOut& copy) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  float* const sums =
      state + (op.base_length + int64_t{op.levels} * (op.base_length / 2 + 1)) *
                  op.width;
  Channels<V> sum = ends.coarser;
  for (int level = changed; level >= 1; --level) {
    Add(parts.levels[level - 1][lane], &sum);
    Store(sum, sums + int64_t{level - 1} * op.width);
  }
  Channels<V> c;
#pragma unroll
  for (int residue = 0; residue < kResidues; ++residue) {
    Add(parts.near[residue][lane], &c);
  }
  Add(sum, &c);
  AddProduct(ends.long_tap, a, &c);
  AddProduct(ends.skip, a, &c);
  Store(a, state + int64_t{ends.long_row} * op.width);
  Store(c, op.c + at.row * op.width + at.channel);
  Store(c, copy, at.row * op.width + at.channel);
}

// A block's kWarps warps share the sums of its 32 V channels: more for few
// rows, fewer where rows alone fill the multiprocessors. The order of sums is
// the same.
template <int V, int kWarps, bool kShort, bool kLong>
__global__ void __launch_bounds__(kWarps* kLanes, 16 / kWarps)
    DecodeConvolutions(const __grid_constant__ ShortConvolution short_conv,
                       const __grid_constant__ HierarchicalConvolution
                           long_conv,
                       const __grid_constant__ ConvolutionCopies copies,
                       const __grid_constant__ DecodeRows rows) {
  __shared__ Parts<V> parts;
  const int width = kShort ? short_conv.width : long_conv.width;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int index = static_cast<int>(blockIdx.y);
  // The products behind stream their weights at once: with few rows they may,
  // many rows' states would have to wait for them.
  constexpr bool kFew = kWarps == kFewRowsWarps;
  if (kFew) LetLaterStart();
  const bool exists = index < *rows.count;
  // Of the warps the one whose levels change least often: it ends the row.
  constexpr int kLast = kWarps - 1;
  Row at;
  at.channel = (static_cast<int>(blockIdx.x) * kLanes + lane) * V;
  const bool in_width = at.channel < width;
  int changed = 0;
  Ends<V> ends;
  if (exists) {
    at.row = rows.rows[index];
    at.slot = rows.slots[index];
    at.position = rows.positions[index];
    if (kLong) changed = min(__ffsll(at.position + 1) - 1, long_conv.levels);
  }
  if (exists && in_width) {
    if (kLong) {
      float* const state = long_conv.state.data +
                           at.slot * long_conv.state.slot_stride + at.channel;
      if (warp == kLast) LoadEnds<V>(long_conv, at, changed, &ends);
      NearPast<V> past[kResidues / kWarps];
#pragma unroll
      for (int i = 0; i < kResidues / kWarps; ++i) {
        past[i].Ask(long_conv, at, state, i * kWarps + warp);
      }
      for (int level = warp + 1; level <= changed; level += kWarps) {
        parts.levels[level - 1][lane] = SumLevel<V>(
            long_conv, at, level, LevelPast<V>(long_conv, at, state, level));
      }
#pragma unroll
      for (int i = 0; i < kResidues / kWarps; ++i) {
        const int residue = i * kWarps + warp;
        parts.near[residue][lane] =
            SumNear<V>(long_conv, at, state, residue, past[i]);
      }
    }
    if (kShort && warp == kLast) LoadEnds<V>(short_conv, at, &ends);
    if (kShort && warp == kLast - 1) {
      parts.short_sum[lane] = SumShort<V>(short_conv, at);
    }
  }
  __syncthreads();
  if (!kFew) LetLaterStart();
  WaitForEarlier();
  if (!exists || warp != kLast) return;
  // One warp is left, which has the block's channels.
  Channels<V> a;
  if (kShort) {
    const float* const x = short_conv.x + at.row * width;
    Channels<V> own;
    if (in_width) own = LoadFresh<V>(x + at.channel);
    const NormStatistics statistics =
        WarpNormStatistics(x, width, short_conv.norm);
    if (!in_width) return;
    a = FinishShort<V>(short_conv, at, statistics, own, ends,
                       parts.short_sum[lane], copies.u);
  } else {
    if (!in_width) return;
    a = LoadFresh<V>(long_conv.a + at.row * width + at.channel);
  }
  if (kLong) FinishLong<V>(long_conv, at, changed, ends, a, parts, copies.c);
}

bool Aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}
bool Aligned(const ShortConvolution& op) {
  return op.state.slot_stride % 4 == 0 && Aligned(op.x) &&
         Aligned(op.norm.weight) && Aligned(op.norm.bias) &&
         Aligned(op.weight) && Aligned(op.bias) && Aligned(op.state.data) &&
         Aligned(op.u) && Aligned(op.a);
}
bool Aligned(const HierarchicalConvolution& op) {
  return op.state.slot_stride % 4 == 0 && Aligned(op.a) && Aligned(op.taps0) &&
         Aligned(op.taps) && Aligned(op.skip) && Aligned(op.state.data) &&
         Aligned(op.c);
}

template <int V, int kWarps>
cudaError_t LaunchOf(const ShortConvolution* short_conv,
                     const HierarchicalConvolution* hierarchical,
                     const ConvolutionCopies& copies, const DecodeRows& rows,
                     LaunchShape shape) {
  shape.block = dim3(kWarps * kLanes);
  if (hierarchical == nullptr) {
    return Launch(shape, DecodeConvolutions<V, kWarps, true, false>,
                  *short_conv, HierarchicalConvolution{}, copies, rows);
  }
  if (short_conv == nullptr) {
    return Launch(shape, DecodeConvolutions<V, kWarps, false, true>,
                  ShortConvolution{}, *hierarchical, copies, rows);
  }
  return Launch(shape, DecodeConvolutions<V, kWarps, true, true>, *short_conv,
                *hierarchical, copies, rows);
}

}  // namespace

cudaError_t LaunchDecode(const ShortConvolution* short_conv,
                         const HierarchicalConvolution* hierarchical,
                         const ConvolutionCopies& copies,
                         const DecodeRows& rows, int32_t max_rows, bool overlap,
                         cudaStream_t stream) {
  const int width =
      short_conv != nullptr ? short_conv->width : hierarchical->width;
  const bool wide = width % 4 == 0 &&
                    (short_conv == nullptr || Aligned(*short_conv)) &&
                    (hierarchical == nullptr || Aligned(*hierarchical));
  LaunchShape shape;
  shape.grid = dim3(Blocks(width, kLanes * (wide ? 4 : 1)),
                    static_cast<unsigned>(max_rows));
  shape.overlap = overlap;
  shape.stream = stream;
  if (!wide) {
    return LaunchOf<1, 4>(short_conv, hierarchical, copies, rows, shape);
  }
  return max_rows <= kFewRows
             ? LaunchOf<4, kFewRowsWarps>(short_conv, hierarchical, copies,
                                          rows, shape)
             : LaunchOf<4, 4>(short_conv, hierarchical, copies, rows, shape);
}

}  // namespace chela::cuda
