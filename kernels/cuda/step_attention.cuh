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

// What one warp does for a tile: columns lane and lane + 32.
struct TileColumns {
  // Asks for what the gate needs of a column.
  __device__ __forceinline__ void Ask(const WholeStep& op, int index,
                                      const StepPlace& at,
                                      const LinearAttention& attention,
                                      int first) {
    const int column = first + at.lane();
    weights[0] = attention.norm_weight[column];
    weights[1] = attention.norm_weight[column + 32];
    resets_at =
        at.Values(op, index, op.places.projections) + op.shared + column;
    words[0] = ReadWord(resets_at);
    words[1] = ReadWord(resets_at + 32);
  }
  // o from its threads' sums, as attention_decode.cu has it; its squares for
  // the head's other tiles.
  __device__ __forceinline__ void Sum(const WholeStep& op, int index,
                                      const StepPlace& at, int first,
                                      const AttentionParts& parts) {
#pragma unroll
    for (int i = 0; i < kKeyGroups; ++i) {
      o[0] += parts.sums[i][at.lane()];
      o[1] += parts.sums[i][at.lane() + 32];
    }
    const float squares = TileSquares(o[0], o[1]);
    if (at.lane() == 0) {
      Post(at.Values(op, index, op.places.squares) + first / kTileColumns,
           squares, at.Tag(index));
    }
  }
  // r . norm(o), rounded, for everybody.
  template <typename T>
  __device__ __forceinline__ void PostGated(const WholeStep& op, int index,
                                            const StepPlace& at,
                                            const LinearAttention& attention,
                                            int head, int first) const {
    const int tiles = attention.value_dim / kTileColumns;
    float resets[2] = {ValueOf(words[0]), ValueOf(words[1])};
    if (!HasTag(words[0], at.Tag(index)) || !HasTag(words[1], at.Tag(index))) {
      AwaitTwo(resets_at, resets_at + 32, at.Tag(index), &resets[0],
               &resets[1]);
    }
    const float gates[2] = {Silu(resets[0]), Silu(resets[1])};
    float own = 0;
    if (at.lane() < tiles) {
      own = Await(
          at.Values(op, index, op.places.squares) + head * tiles + at.lane(),
          at.Tag(index));
    }
    float all = 0;
    for (int i = 0; i < tiles; ++i) all += __shfl_sync(kWholeWarp, own, i);
    const float scale = HeadScale(attention, all);
    const float low = gates[0] * (o[0] * scale * weights[0]);  // as Gate
    const float high = gates[1] * (o[1] * scale * weights[1]);
    // Lane l posts columns 2 l and 2 l + 1.
    const int from = 2 * at.lane() % 32;
    const float lows[2] = {__shfl_sync(kWholeWarp, low, from),
                           __shfl_sync(kWholeWarp, low, from + 1)};
    const float highs[2] = {__shfl_sync(kWholeWarp, high, from),
                            __shfl_sync(kWholeWarp, high, from + 1)};
    const bool upper = at.lane() >= 16;
    at.PostCopies(
        op, index, op.places.gated, op.value / 2, first / 2 + at.lane(),
        Round2<T>(upper ? highs[0] : lows[0], upper ? highs[1] : lows[1]));
  }

  float o[2] = {};
  float weights[2];
  const uint64_t* resets_at;
  uint64_t words[2];
};

template <typename T>
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
  TileColumns columns;
  if (at.warp() == 0) columns.Ask(op, index, at, attention, first);
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
  if (at.warp() == 0) columns.Sum(op, index, at, first, parts);
  StoreTile(tile, state, attention.key_dim, attention.value_dim);
  if (at.warp() == 0) {
    columns.PostGated<T>(op, index, at, attention, own.head, first);
  }
}

// r . norm(o) as the left operand, and what the gated residual needs.
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
  ReadLeft(at, at.Copy(op, index, op.places.gated, op.value / 2), op.value / 2,
           at.Tag(index), shared);
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
