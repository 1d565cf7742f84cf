#pragma once
#include "cuda_runtime.h"
namespace chela::cuda {
struct LaunchShape { dim3 grid, block; size_t shared_bytes=0; cudaStream_t stream=nullptr; };
inline unsigned Blocks(int64_t a,int64_t b){ return (unsigned)((a+b-1)/b); }
template<typename K,typename...A> int Launch(const LaunchShape& s, K k, const A&... a){
  gridDim=s.grid;
  for(unsigned z=0;z<s.grid.z;z++)for(unsigned y=0;y<s.grid.y;y++)for(unsigned x=0;x<s.grid.x;x++){
    std::barrier<> b(s.block.x); bar=&b;
    std::vector<std::thread> ts;
    for(unsigned t=0;t<s.block.x;t++) ts.emplace_back([&,t]{ threadIdx=dim3(t,0,0); threadIdx.y=threadIdx.z=0; blockIdx.x=x;blockIdx.y=y;blockIdx.z=z; k(a...); b.arrive_and_drop(); });
    for(auto&t:ts)t.join();
  }
  return 0; }
}
