#pragma once
#include "cuda_runtime.h"
namespace chela::cuda { constexpr int kResidues=8; inline int Mod(int64_t p,int l){ return (int)(p%l);} }
