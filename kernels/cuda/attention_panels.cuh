// Decode rows of the linear attention: what both kernels of them share.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_PANELS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_PANELS_CUH_

#include <cooperative_groups.h>

#include <cstdint>

#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rounded_out.h"
#include "kernels/cuda/step_rows.h"

namespace chela::cuda {

// A block has a panel of 64 keys and 128 value columns of a state at a time.
// Thread (warp, lane) has columns 4 lane .. 4 lane + 3 and four groups of four
// keys, from key 16 warp on: the first in registers, the others in shared
// memory, so that as much as the two can hold is on its way.
inline constexpr int kPanelColumns = 128;
inline constexpr int kPanelThreads = 128;
inline constexpr int kPanelTiles = kPanelColumns / kTileColumns;
inline constexpr int kThreadGroups = kKeyGroups / (kPanelThreads / 32);
inline constexpr int kThreadKeys = 4 * kThreadGroups;
inline constexpr int kSharedKeys = kThreadKeys - 4;

inline __host__ __device__ int Panels(int value_dim) {
  return (value_dim + kPanelColumns - 1) / kPanelColumns;
}

// Four floats on their way to shared memory, or zeros; not to be kept in the
// second-level cache. `valid` is any address that may be read.
__device__ __forceinline__ void CopyFour(float4* to, const float* from,
                                         bool there, const float* valid) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(
          static_cast<uint32_t>(__cvta_generic_to_shared(to))),
      "l"(there ? from : valid), "r"(there ? 16 : 0), "l"(policy)
      : "memory");
}
// The same where they are not aligned to 16 bytes, or not all there: the first
// `count`, then 0.
__device__ __forceinline__ void CopySome(float4* to, const float* from,
                                         int count, const float* valid) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
#pragma unroll 1
  for (int j = 0; j < 4; ++j) {
    const bool there = j < count;
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at + 4 * j),
        "l"(there ? from + j : valid), "r"(there ? 4 : 0)
        : "memory");
  }
}
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// A block's memory. `extra` floats are the kernel's own. kOnce: a head has no
// more than one panel of keys.
template <bool kOnce>
struct PanelShared {
  __device__ PanelShared(float4* memory, int key_dim, int own_panels, int extra)
      : state(memory),
        padded_keys(PaddedKeys(key_dim)),
        q(reinterpret_cast<float*>(memory + StateFours(key_dim))),
        k(q + padded_keys),
        o(k + padded_keys),
        own(o + own_panels * kPanelColumns),
        squares(own + extra) {}
  static size_t Bytes(int key_dim, int own_panels, int extra, int tiles) {
    return sizeof(float) *
           static_cast<size_t>(4 * StateFours(key_dim) +
                               2 * PaddedKeys(key_dim) +
                               own_panels * kPanelColumns + extra + tiles);
  }
  static __host__ __device__ int StateFours(int key_dim) {
    return (kSharedKeys +
            (PaddedKeys(key_dim) > kTileKeys ? kThreadGroups : 0)) *
           kPanelThreads;
  }
  static __host__ __device__ int PaddedKeys(int key_dim) {
    return kOnce ? kTileKeys
                 : (key_dim + kTileKeys - 1) / kTileKeys * kTileKeys;
  }
  // Group i > 0 of this thread.
  __device__ __forceinline__ StateTile Tile(int i) const {
    StateTile tile;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float4 four = state[(4 * i - 4 + j) * kPanelThreads + threadIdx.x];
      tile.s[j][0] = four.x, tile.s[j][1] = four.y;
      tile.s[j][2] = four.z, tile.s[j][3] = four.w;
    }
    return tile;
  }
  // Where the sums of group i over its keys are: of a head of one panel of keys
  // in a place of this thread's own that is free once group max(i, 1) was read.
  __device__ __forceinline__ int SumsAt(int i) const {
    if (padded_keys > kTileKeys) return kSharedKeys + i;
    return i == 0 ? 1 : 4 * i - 4;
  }
  // Those of the keys before `first`.
  __device__ __forceinline__ void LoadSums(int first, int i,
                                           float (&sums)[4]) const {
    const float4 four = kOnce || first == 0
                            ? make_float4(0, 0, 0, 0)
                            : state[SumsAt(i) * kPanelThreads + threadIdx.x];
    sums[0] = four.x, sums[1] = four.y, sums[2] = four.z, sums[3] = four.w;
  }
  __device__ __forceinline__ void PutSums(int i, const float (&sums)[4]) const {
    state[SumsAt(i) * kPanelThreads + threadIdx.x] =
        make_float4(sums[0], sums[1], sums[2], sums[3]);
  }
  __device__ __forceinline__ float Sum(int group, int column) const {
    const int at = SumsAt(group % kThreadGroups) * kPanelThreads +
                   group / kThreadGroups * 32;
    return reinterpret_cast<const float*>(state + at)[column];
  }

  float4* state;  // [12 keys][128 threads]: each thread's own; then the sums
  int padded_keys;
  float* q;        // [padded_keys], 0 beyond the head's
  float* k;        // likewise
  float* o;        // [own_panels, 128]
  float* own;      // [extra]
  float* squares;  // [tiles]: of every tile's o, whoever computes it
};

// Which part of which head of which row a block has: of a cluster of blocks
// that owns a head, block r has panels r, r + cluster_size ..
struct PanelPlace {
  __device__ PanelPlace(const LinearAttention& op, int cluster)
      : cluster_size(cluster),
        head(static_cast<int>(blockIdx.x) / cluster),
        rank(static_cast<int>(blockIdx.x) % cluster),
        index(static_cast<int>(blockIdx.y)),
        own_panels((Panels(op.value_dim) + cluster - 1) / cluster) {}
  __device__ int FirstColumn(int own) const {
    return (own * cluster_size + rank) * kPanelColumns;
  }
  int cluster_size;
  int head;
  int rank;
  int index;
  int own_panels;
};

// What is asked for here and now, though a branch stands before its use.
__device__ __forceinline__ int32_t LoadEarly(const int32_t* from) {
  int32_t value;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(value) : "l"(from));
  return value;
}
__device__ __forceinline__ int64_t LoadEarly(const int64_t* from) {
  int64_t value;
  asm volatile("ld.global.b64 %0, [%1];" : "=l"(value) : "l"(from));
  return value;
}

// A row as a block finds it. Rows beyond the last may be read, up to the
// grid's: asked for without waiting for their number, which would be a way to
// memory more.
struct PanelRow {
  __device__ PanelRow(const DecodeRows& rows, int index)
      : slot(LoadEarly(rows.slots + index)),
        position(LoadEarly(rows.positions + index)),
        row(LoadEarly(rows.rows + index)) {}
  int32_t slot;
  int64_t position;
  int32_t row;  // of the activations
};

// A head's state of a row.
struct HeadState {
  __device__ HeadState(const LinearAttention& op, const PanelRow& of,
                       const PanelPlace& at)
      : slot(of.slot),
        position(of.position),
        row(of.row),
        data(op.state.data + slot * op.state.slot_stride +
             int64_t{at.head} * op.key_dim * op.value_dim) {}
  __device__ bool fresh() const { return position == 0; }
  int64_t slot;
  int64_t position;
  int64_t row;
  float* data;  // [key_dim, value_dim]
};

// What a block works on. kOnce: it has one panel, the head's keys are one, and
// rows of a state can be moved 16 bytes at a time. That is every named size; a
// code of its own, since what the others need besides takes the registers that
// hold states.
template <bool kOnce>
struct PanelWork {
  __device__ float Decay() const {
    return op.decay == nullptr ? 1.0f : op.decay[at.head];
  }
  // Four keys from `key` on and columns 4 lane .. of a panel.
  __device__ __forceinline__ TileShape Group(int key, int column) const {
    TileShape shape;
    shape.keys = op.key_dim;
    shape.columns = op.value_dim;
    shape.first_key = key;
    shape.first_column = column + static_cast<int>(threadIdx.x) % 32 * 4;
    shape.aligned = kOnce || StateAligned(op);
    return shape;
  }
  const LinearAttention& op;
  const PanelPlace& at;
  const HeadState& state;
  const PanelShared<kOnce>& memory;
};

__device__ __forceinline__ int FirstKey() {
  return static_cast<int>(threadIdx.x) / 32 * kThreadKeys;
}

// Asks for this thread's part of the panel at keys first .. and columns
// column ..; 0 beyond the head, and all of it at position 0. Returns its first
// group.
template <bool kOnce>
__device__ __forceinline__ StateTile AskState(const PanelWork<kOnce>& work,
                                              int first, int column) {
  const int width = work.op.value_dim;
  const TileShape shape = work.Group(first + FirstKey(), column);
  const float* const valid = work.state.data;
  float4* const to = work.memory.state + threadIdx.x;
  const int columns = width - shape.first_column;
  const int keys =
      work.state.fresh() || columns <= 0 ? 0 : shape.keys - shape.first_key - 4;
  const float* from =
      valid + int64_t{shape.first_key + 4} * width + shape.first_column;
  StateTile tile = {};
  if (!work.state.fresh()) tile = shape.Load(valid);
  if (shape.aligned) {
#pragma unroll
    for (int i = 0; i < kSharedKeys; ++i, from += width) {
      CopyFour(to + i * kPanelThreads, from, i < keys, valid);
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kSharedKeys; ++i, from += width) {
      CopySome(to + i * kPanelThreads, from, i < keys ? columns : 0, valid);
    }
  }
  return tile;
}

__device__ __forceinline__ void Unpack(const float4& four, float (&to)[4]) {
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_PANELS_CUH_
