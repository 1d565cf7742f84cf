#pragma once
#include <cstdint>
#include <cmath>
#include <algorithm>
#include <barrier>
#include <thread>
#include <vector>
using std::max; using std::min;
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static
struct dim3 { unsigned x=1,y=1,z=1; dim3(unsigned a=1,unsigned b=1,unsigned c=1):x(a),y(b),z(c){} };
inline thread_local dim3 threadIdx, blockIdx; inline dim3 gridDim;
using cudaError_t=int; using cudaStream_t=void*; constexpr int cudaSuccess=0;
inline std::barrier<>* bar;
inline void __syncthreads(){ bar->arrive_and_wait(); }
inline int __ffsll(long long x){ return __builtin_ffsll(x); }
