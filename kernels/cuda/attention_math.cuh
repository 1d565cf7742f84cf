// What the attention kernels share.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_MATH_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_MATH_CUH_

#include <cstdint>

#include "kernels/cuda/device_math.cuh"
#include "kernels/linear_attention.h"

namespace chela::cuda {

inline constexpr int kTileColumns = 64;  // value columns of a tile
inline constexpr int kKeyGroups = 16;    // of four keys each
inline constexpr int kTileKeys = 4 * kKeyGroups;
inline constexpr int kTileThreads = kKeyGroups * kTileColumns / 4;
inline constexpr int kMaxCluster = 8;

inline __host__ __device__ int ValueTiles(int value_dim) {
  return (value_dim + kTileColumns - 1) / kTileColumns;
}
// Blocks that share a head's columns. Tile i is block i % ClusterOf's.
inline __host__ __device__ int ClusterOf(int value_dim) {
  const int tiles = ValueTiles(value_dim);
  int size = 1;
  while (size < kMaxCluster && size < tiles) size *= 2;
  return size;
}

// A thread's part of a state tile: four keys by four columns.
struct StateTile {
  float s[4][4];
};

// Which keys and columns of a head a thread owns, and how to move them.
struct TileShape {
  int keys = 0;          // of the head
  int columns = 0;       // of the head
  int first_key = 0;     // of this thread
  int first_column = 0;  // likewise
  bool aligned = false;  // rows can be moved 16 bytes at a time

  __device__ __forceinline__ StateTile Load(const float* head) const {
    StateTile tile;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* row = head + int64_t{first_key + i} * columns + first_column;
      if (aligned && first_key + i < keys && first_column < columns) {
        const float4 four = __ldcs(reinterpret_cast<const float4*>(row));
        tile.s[i][0] = four.x, tile.s[i][1] = four.y;
        tile.s[i][2] = four.z, tile.s[i][3] = four.w;
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          tile.s[i][j] =
              first_key + i < keys && first_column + j < columns ? row[j] : 0;
        }
      }
    }
    return tile;
  }

  __device__ __forceinline__ void Store(const StateTile& tile,
                                        float* head) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first_key + i >= keys) break;
      float* row = head + int64_t{first_key + i} * columns + first_column;
      if (aligned && first_column < columns) {
        __stcs(reinterpret_cast<float4*>(row),
               make_float4(tile.s[i][0], tile.s[i][1], tile.s[i][2],
                           tile.s[i][3]));
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (first_column + j < columns) row[j] = tile.s[i][j];
        }
      }
    }
  }
};

// S = decay S + k w^T, o += S^T q for a thread's part.
__device__ __forceinline__ void Advance(StateTile& tile, float decay,
                                        const float (&k)[4],
                                        const float (&q)[4],
                                        const float (&w)[4], float (&o)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      tile.s[i][j] = fmaf(k[i], w[j], decay * tile.s[i][j]);
      o[j] = fmaf(q[i], tile.s[i][j], o[j]);
    }
  }
}

__device__ __forceinline__ void Scale(float scale, StateTile& tile) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) tile.s[i][j] *= scale;
  }
}

// S += k w^T for a thread's part.
__device__ __forceinline__ void AddOuter(const float (&k)[4],
                                         const float (&w)[4], StateTile& tile) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) tile.s[i][j] = fmaf(k[i], w[j], tile.s[i][j]);
  }
}

// x^n to float32's last bit.
__device__ __forceinline__ float Power(float x, int n) {
  double power = 1;
  for (double square = x; n > 0; n /= 2, square *= square) {
    if (n % 2 != 0) power *= square;
  }
  return static_cast<float>(power);
}

// The affine maps of key `key` (over all heads).
struct AttentionScales {
  float q_scale, q_bias, k_scale, k_bias;
};
__device__ __forceinline__ AttentionScales LoadScales(const LinearAttention& op,
                                                      int key) {
  return {op.q_scale[key], op.q_bias[key], op.k_scale[key], op.k_bias[key]};
}

// phi(q) and phi(k) of a key from its raw sum.
__device__ __forceinline__ float2 QueryAndKey(const LinearAttention& op,
                                              float shared,
                                              const AttentionScales& scales) {
  const float zz = Silu(shared);
  const float q = fmaf(scales.q_scale, zz, scales.q_bias);
  const float k = fmaf(scales.k_scale, zz, scales.k_bias);
  return make_float2(Feature(op.feature_map, q), Feature(op.feature_map, k));
}

// Silu without a branch, for threads that have many values at once; as exact
// down to 2^-125 of x, and never below that.
__device__ __forceinline__ float SiluOfMany(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLog2ERest = 0x1.4ae0cp-26f;
  constexpr float kLn2 = 0x1.62e43p-1f;
  const float bounded = fminf(fmaxf(x, -86.6f), 126.0f);
  // e^-x = 2^power (1 + ln 2 rest), the rest being what `power` is off by.
  const float power = -kLog2E * bounded;
  const float rest = fmaf(bounded, -kLog2ERest, fmaf(bounded, -kLog2E, -power));
  float exponential;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exponential) : "f"(power));
  exponential = fmaf(exponential, kLn2 * rest, exponential);
  const float divisor = 1.0f + exponential;
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(divisor));
  const float quotient = inverse * x;
  return fmaf(inverse, fmaf(-divisor, quotient, x), quotient);
}

// The sum of the squares of 64 columns, by one warp; missing columns are 0.
__device__ __forceinline__ float TileSquares(float low, float high) {
  return WarpSum(fmaf(high, high, low * low));
}

__device__ __forceinline__ float Gate(float o, float scale, float reset,
                                      float norm_weight) {
  return Silu(reset) * (o * scale * norm_weight);
}

__device__ __forceinline__ float HeadScale(const LinearAttention& op,
                                           float squares) {
  return 1.0f / sqrtf(squares / static_cast<float>(op.value_dim) + op.norm_eps);
}

__host__ __device__ __forceinline__ bool StateAligned(
    const LinearAttention& op) {
  return op.value_dim % 4 == 0 && op.state.slot_stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(op.state.data) % 16 == 0;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_MATH_CUH_
