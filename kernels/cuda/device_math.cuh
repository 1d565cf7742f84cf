#pragma once
#include "cuda_runtime.h"
namespace chela::cuda { inline void WaitForEarlier(){} }
