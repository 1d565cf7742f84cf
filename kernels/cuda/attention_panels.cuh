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
// keys, from key 16 warp on.
inline constexpr int kPanelColumns = 128;
inline constexpr int kPanelThreads = 128;
inline constexpr int kPanelTiles = kPanelColumns / kTileColumns;
inline constexpr int kThreadGroups = kKeyGroups / (kPanelThreads / 32);
inline constexpr int kThreadKeys = 4 * kThreadGroups;

inline __host__ __device__ int Panels(int value_dim) {
  return (value_dim + kPanelColumns - 1) / kPanelColumns;
}

// Four floats on their way to shared memory, or zeros. `valid` is any address
// that may be read.
__device__ __forceinline__ void CopyFour(float4* to, const float* from,
                                         bool there, const float* valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(there ? from : valid), "r"(there ? 16 : 0)
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

// A block's memory. `extra` floats are the kernel's own.
struct PanelShared {
  __device__ PanelShared(float4* memory, int key_dim, int own_panels, int extra)
      : state(memory),
        apart(key_dim > kTileKeys),
        q(reinterpret_cast<float*>(memory + StateFours(key_dim))),
        k(q + PaddedKeys(key_dim)),
        o(k + PaddedKeys(key_dim)),
        own(o + own_panels * kPanelColumns),
        squares(own + extra) {}
  static size_t Bytes(int key_dim, int own_panels, int extra, int tiles) {
    return sizeof(float) *
           static_cast<size_t>(4 * StateFours(key_dim) +
                               2 * PaddedKeys(key_dim) +
                               own_panels * kPanelColumns + extra + tiles);
  }
  static __host__ __device__ int StateFours(int key_dim) {
    return (kThreadKeys + (key_dim > kTileKeys ? kThreadGroups : 0)) *
           kPanelThreads;
  }
  static __host__ __device__ int PaddedKeys(int key_dim) {
    return (key_dim + kTileKeys - 1) / kTileKeys * kTileKeys;
  }
  // Group i of this thread.
  __device__ __forceinline__ StateTile Tile(int i) const {
    StateTile tile;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float4 four = state[(4 * i + j) * kPanelThreads + threadIdx.x];
      tile.s[j][0] = four.x, tile.s[j][1] = four.y;
      tile.s[j][2] = four.z, tile.s[j][3] = four.w;
    }
    return tile;
  }
  __device__ __forceinline__ void PutTile(int i, const StateTile& tile) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      state[(4 * i + j) * kPanelThreads + threadIdx.x] =
          make_float4(tile.s[j][0], tile.s[j][1], tile.s[j][2], tile.s[j][3]);
    }
  }
  __device__ __forceinline__ float At(int i, int key, int column) const {
    return reinterpret_cast<const float*>(
        state + (4 * i + key) * kPanelThreads + threadIdx.x)[column];
  }
  // The sums of group i over its keys: of a head of one panel of keys in the
  // place of the group's first key, which nobody else reads.
  __device__ __forceinline__ int SumsAt(int i) const {
    return apart ? kThreadKeys + i : 4 * i;
  }
  __device__ __forceinline__ void LoadSums(int i, float (&sums)[4]) const {
    const float4 four = state[SumsAt(i) * kPanelThreads + threadIdx.x];
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

  float4* state;   // [16 keys][128 threads]: each thread's own; then the sums
  bool apart;      // there are several panels of keys
  float* q;        // [keys], 0 beyond the head's
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

// A head's state of a row.
struct HeadState {
  __device__ HeadState(const LinearAttention& op, const DecodeRows& rows,
                       const PanelPlace& at)
      : slot(rows.slots[at.index]),
        position(rows.positions[at.index]),
        row(rows.rows[at.index]),
        data(op.state.data + slot * op.state.slot_stride +
             int64_t{at.head} * op.key_dim * op.value_dim) {}
  __device__ bool fresh() const { return position == 0; }
  int64_t slot;
  int64_t position;
  int64_t row;  // of the activations
  float* data;  // [key_dim, value_dim]
};

// What a block works on.
struct PanelWork {
  __device__ float Decay() const {
    return op.decay == nullptr ? 1.0f : op.decay[at.head];
  }
  const LinearAttention& op;
  const PanelPlace& at;
  const HeadState& state;
  const PanelShared& memory;
};

// Asks for this thread's part of the panel at keys first .. and columns
// column ..; 0 beyond the head, and all of it at position 0.
__device__ __forceinline__ void AskState(const PanelWork& work, int first,
                                         int column) {
  const int width = work.op.value_dim;
  const int key = first + static_cast<int>(threadIdx.x) / 32 * kThreadKeys;
  const int mine = column + static_cast<int>(threadIdx.x) % 32 * 4;
  const float* const valid = work.state.data;
  const float* from = valid + int64_t{key} * width + mine;
  float4* const to = work.memory.state + threadIdx.x;
  const int keys = work.state.fresh() ? 0 : work.op.key_dim - key;
  const int columns = width - mine;
  if (StateAligned(work.op)) {
    const bool column_exists = columns > 0;
#pragma unroll
    for (int i = 0; i < kThreadKeys; ++i, from += width) {
      CopyFour(to + i * kPanelThreads, from, column_exists && i < keys, valid);
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kThreadKeys; ++i, from += width) {
      CopySome(to + i * kPanelThreads, from, i < keys ? columns : 0, valid);
    }
  }
}

// Writes group i of this thread's part of a panel back; `key` and `column` are
// its first ones.
__device__ __forceinline__ void StoreGroup(const PanelWork& work, int i,
                                           const StateTile& tile, int key,
                                           int column) {
  const int width = work.op.value_dim;
  float* to = work.state.data + int64_t{key} * width + column;
  if (StateAligned(work.op)) {
    if (column >= width) return;
#pragma unroll
    for (int j = 0; j < 4; ++j, to += width) {
      if (key + j >= work.op.key_dim) break;
      __stcs(
          reinterpret_cast<float4*>(to),
          make_float4(tile.s[j][0], tile.s[j][1], tile.s[j][2], tile.s[j][3]));
    }
    return;
  }
  work.memory.PutTile(i, tile);
#pragma unroll 1
  for (int at = 0; at < 16; ++at) {
    if (key + at / 4 < work.op.key_dim && column + at % 4 < width) {
      to[int64_t{at / 4} * width + at % 4] = work.memory.At(i, at / 4, at % 4);
    }
  }
}

__device__ __forceinline__ void Unpack(const float4& four, float (&to)[4]) {
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_PANELS_CUH_
