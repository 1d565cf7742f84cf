// Rows of channels as a lane moves them.
#ifndef CHELA_KERNELS_CUDA_CHANNELS_CUH_
#define CHELA_KERNELS_CUDA_CHANNELS_CUH_

#include "kernels/cuda/device_math.cuh"

namespace chela::cuda {

// Neighbouring channels of a lane: four where rows can be moved 16 bytes at a
// time, else one.
template <int V>
struct Channels {
  float v[V] = {};
};
template <int V>
__device__ __forceinline__ Channels<V> Load(const float* from) {
  Channels<V> out;
  if constexpr (V == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    out.v[0] = four.x, out.v[1] = four.y, out.v[2] = four.z, out.v[3] = four.w;
  } else {
    out.v[0] = *from;
  }
  return out;
}
// What an earlier kernel of the step wrote.
template <int V>
__device__ __forceinline__ Channels<V> LoadFresh(const float* from) {
  Channels<V> out;
  if constexpr (V == 4) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(from));
    out.v[0] = four.x, out.v[1] = four.y, out.v[2] = four.z, out.v[3] = four.w;
  } else {
    out.v[0] = __ldcg(from);
  }
  return out;
}
template <int V>
__device__ __forceinline__ void Store(const Channels<V>& x, float* to) {
  if constexpr (V == 4) {
    *reinterpret_cast<float4*>(to) =
        make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  } else {
    *to = x.v[0];
  }
}
template <int V>
__device__ __forceinline__ void Store(const Channels<V>& x,
                                      const RoundedOut& to, int64_t at) {
  if (to.data == nullptr) return;
  if constexpr (V == 4) {
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(to.data) + at) =
        make_uint2(Round2(to.dtype, x.v[0], x.v[1]),
                   Round2(to.dtype, x.v[2], x.v[3]));
  } else {
    StoreRounded(to, at, x.v[0]);
  }
}
template <int V>
__device__ __forceinline__ void AddProduct(const Channels<V>& a,
                                           const Channels<V>& b,
                                           Channels<V>* sum) {
#pragma unroll
  for (int i = 0; i < V; ++i) sum->v[i] = fmaf(a.v[i], b.v[i], sum->v[i]);
}
template <int V>
__device__ __forceinline__ void Add(const Channels<V>& a, Channels<V>* sum) {
#pragma unroll
  for (int i = 0; i < V; ++i) sum->v[i] = a.v[i] + sum->v[i];
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CHANNELS_CUH_
