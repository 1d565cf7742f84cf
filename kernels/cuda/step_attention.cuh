// A layer's second stage in a whole step: attention, its gate and output.
#ifndef CHELA_KERNELS_CUDA_STEP_ATTENTION_CUH_
#define CHELA_KERNELS_CUDA_STEP_ATTENTION_CUH_

#include "kernels/cuda/whole_step.cuh"

namespace chela::cuda {

// The tile of 64 value columns that a block has in every layer, if it has one.
// Thread (g, c) has keys 4 g .. 4 g + 3 and columns 4 c .. 4 c + 3.
struct AttentionTile {
  __device__ AttentionTile(const WholeStep& op, const LinearAttention& any)
      : has(static_cast<int>(blockIdx.x) < op.value / kTileColumns),
        head(static_cast<int>(blockIdx.x) / (any.value_dim / kTileColumns)),
        first_column(static_cast<int>(blockIdx.x) %
                     (any.value_dim / kTileColumns) * kTileColumns) {}
  // Key 0 of the state's columns.
  __device__ __forceinline__ float* State(const LinearAttention& attention,
                                          int64_t slot) const {
    return attention.state.data + slot * attention.state.slot_stride +
           int64_t{head} * attention.key_dim * attention.value_dim +
           first_column;
  }
  // Asks for it ahead, into the second-level cache.
  __device__ __forceinline__ void Fetch(const LinearAttention& attention,
                                        const StepPlace& at) const {
    const int row = at.thread / 2;
    if (row >= attention.key_dim) return;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(
        State(attention, at.slot) + int64_t{row} * attention.value_dim +
        at.thread % 2 * 32));
  }
  bool has;
  int head;
  int first_column;  // of the head's
};
__device__ __forceinline__ StateTile LoadTile(const float* state, int keys,
                                              int stride) {
  StateTile tile = {};
  const int first = static_cast<int>(threadIdx.x) / (kTileColumns / 4) * 4;
  const float* from = state + int64_t{first} * stride +
                      static_cast<int>(threadIdx.x) % (kTileColumns / 4) * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (first + i >= keys) continue;
    const float4 four =
        __ldcs(reinterpret_cast<const float4*>(from + int64_t{i} * stride));
    tile.s[i][0] = four.x, tile.s[i][1] = four.y;
    tile.s[i][2] = four.z, tile.s[i][3] = four.w;
  }
  return tile;
}
__device__ __forceinline__ void StoreTile(const StateTile& tile, float* state,
                                          int keys, int stride) {
  const int first = static_cast<int>(threadIdx.x) / (kTileColumns / 4) * 4;
  float* to = state + int64_t{first} * stride +
              static_cast<int>(threadIdx.x) % (kTileColumns / 4) * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (first + i >= keys) continue;
    __stcs(reinterpret_cast<float4*>(to + int64_t{i} * stride),
           make_float4(tile.s[i][0], tile.s[i][1], tile.s[i][2], tile.s[i][3]));
  }
}

// Posts a tile's columns of o, from its threads' sums as attention_decode.cu
// has them, and their squares: the first warps one copy each.
__device__ __forceinline__ void PostColumns(const WholeStep& op, int index,
                                            const StepPlace& at, int first,
                                            const AttentionParts& parts) {
  static_assert(kReplicas <= kStepWorkers / 32);
  if (at.warp() >= kReplicas) return;
  const uint32_t tag = at.Tag(index);
  float low = 0;
  float high = 0;
#pragma unroll
  for (int i = 0; i < kKeyGroups; ++i) {
    low += parts.sums[i][at.lane()];
    high += parts.sums[i][at.lane() + 32];
  }
  uint64_t* const to = at.Values(op, index, op.places.o) +
                       at.warp() * op.value + first + at.lane();
  Post(to, low, tag);
  Post(to + 32, high, tag);
  const float squares = TileSquares(low, high);
  if (at.lane() == 0) {
    const int tiles = op.value / kTileColumns;
    Post(at.Values(op, index, op.places.squares) + at.warp() * tiles +
             first / kTileColumns,
         squares, tag);
  }
}

__device__ __forceinline__ void Attend(const WholeStep& op, int index,
                                       const StepPlace& at,
                                       const AttentionTile& own,
                                       StepShared& shared) {
  const LinearAttention& attention = shared.layers[index & 1].attention;
  AttentionParts& parts = shared.attention;
  const uint32_t tag = at.Tag(index);
  const int g = at.thread / (kTileColumns / 4);
  const int c = at.thread % (kTileColumns / 4);
  const float decay =
      attention.decay == nullptr ? 1.0f : attention.decay[own.head];
  const int first = own.head * attention.value_dim + own.first_column;
  float* const state = own.State(attention, at.slot);
  StateTile tile = {};
  if (!at.fresh) {
    tile = LoadTile(state, attention.key_dim, attention.value_dim);
  }
  // phi(q), phi(k) and w by 64 threads each.
  const int part = at.thread / kTileKeys;
  const int i = at.thread % kTileKeys;
  if (part < 2) {
    float feature = 0;
    if (i < attention.key_dim) {
      const int key = own.head * attention.key_dim + i;
      const float* const scales =
          part == 0 ? attention.q_scale : attention.k_scale;
      const float* const biases =
          part == 0 ? attention.q_bias : attention.k_bias;
      const float scale = scales[key];
      const float bias = biases[key];
      const float zz =
          Silu(Await(at.Values(op, index, op.places.projections) + key, tag));
      feature = Feature(attention.feature_map, fmaf(scale, zz, bias));
    }
    (part == 0 ? parts.q : parts.k)[i] = feature;
  } else if (part == 2) {
    parts.w[i] =
        Silu(Await(at.Values(op, index, op.places.value) + first + i, tag));
  }
  SyncWorkers();
  const float w[4] = {parts.w[4 * c], parts.w[4 * c + 1], parts.w[4 * c + 2],
                      parts.w[4 * c + 3]};
  float keys[4];
  float queries[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    keys[i] = parts.k[4 * g + i];
    queries[i] = parts.q[4 * g + i];
  }
  float sums[4] = {};
  Advance(tile, decay, keys, queries, w, sums);
#pragma unroll
  for (int j = 0; j < 4; ++j) parts.sums[g][4 * c + j] = sums[j];
  SyncWorkers();
  PostColumns(op, index, at, first, parts);
  StoreTile(tile, state, attention.key_dim, attention.value_dim);
}

// The scales of the heads' norms, of the head that each of this warp's fours of
// the values lies in: lane 8 j + i has that of four j. A head has at most eight
// tiles.
__device__ __forceinline__ float AwaitScales(const WholeStep& op, int index,
                                             const StepPlace& at,
                                             const LinearAttention& attention) {
  const int tiles = attention.value_dim / kTileColumns;
  const int all_tiles = op.value / kTileColumns;
  const int four = at.Channel(0, at.lane() / 8);
  const int first = four / attention.value_dim * tiles;
  const int tile = at.lane() % 8;
  float own = 0;
  if (four < op.value && tile < tiles) {
    own = Await(at.Copy(op, index, op.places.squares, all_tiles) + first + tile,
                at.Tag(index));
  }
  float all = 0;
  for (int i = 0; i < tiles; ++i) all += __shfl_sync(kWholeWarp, own, i, 8);
  return HeadScale(attention, all);
}

// r . norm(o) as the left operand, and what the gated residual needs.
template <typename T>
__device__ __forceinline__ void ReadAttention(const WholeStep& op, int index,
                                              const StepPlace& at,
                                              FinishInputs* inputs,
                                              StepShared& shared) {
  const StepProduct& product = shared.stages[kAttend].products[0];
  if (at.thread < product.units * kUnitRows) {
    const int output = product.first * kUnitRows + at.thread;
    const uint64_t* const gate = at.Values(op, index, op.places.projections) +
                                 op.shared + op.value + output;
    AwaitTwo(gate, gate + op.width, at.Tag(index), &inputs->gate,
             &inputs->candidate);
    // As FinishValue has it, whatever does not need the sum ahead.
    inputs->gate = Sigmoid(inputs->gate);
    inputs->residual = (1.0f - inputs->gate) * shared.residual[output];
  }
  const LinearAttention& attention = shared.layers[index & 1].attention;
  const uint32_t tag = at.Tag(index);
  float scales = 0;
#pragma unroll 1
  for (int first = 0; 4 * first < op.value; first += kFoursStep) {
    float4 weights[kFours];
    float4 resets[kFours];
    float4 o[kFours];
    LoadFours(at, attention.norm_weight + 4 * first, op.value - 4 * first,
              weights);
    AwaitRow(at, at.Copy(op, index, op.places.resets, op.value), first,
             op.value, tag, resets);
    AwaitRow(at, at.Copy(op, index, op.places.o, op.value), first, op.value,
             tag, o);
    if (first == 0) scales = AwaitScales(op, index, at, attention);
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      const float scale =
          __shfl_sync(kWholeWarp, scales, first / kStepWorkers * 8 + 8 * j);
      const int channel = at.Channel(first, j);
      if (channel >= op.value) break;
      const float4& r = resets[j];
      const float4& weight = weights[j];
      StoreLeft<T>(
          shared.left + channel,  // as Gate
          r.x * (o[j].x * scale * weight.x), r.y * (o[j].y * scale * weight.y),
          r.z * (o[j].z * scale * weight.z), r.w * (o[j].w * scale * weight.w));
    }
  }
}

__device__ __forceinline__ void FinishAttention(const WholeStep& op, int index,
                                                const StepPlace& at,
                                                const FinishInputs& inputs,
                                                StepShared& shared) {
  const StepProduct& product = shared.stages[kAttend].products[0];
  if (at.thread >= product.units * kUnitRows) return;
  const float h = Silu(inputs.candidate + PartSum(shared, at.thread));
  at.PostCopies(op, index, op.places.y, op.width,
                product.first * kUnitRows + at.thread,
                __float_as_uint(fmaf(inputs.gate, h, inputs.residual)));
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_ATTENTION_CUH_
