// The kernels behind Launch(Product): which of them serves a product is decided
// in product.cu.
#ifndef CHELA_KERNELS_CUDA_PRODUCT_KERNELS_H_
#define CHELA_KERNELS_CUDA_PRODUCT_KERNELS_H_

#include "kernels/cuda/product.h"

namespace chela::cuda {

// One or two products of the same rows and weight type, in one launch.
struct ProductSet {
  Product products[2];
  int32_t first_tiles = 0;  // blocks of the first one; set by the launchers
  bool pair = false;
};

// 16-bit weights, one row: the same bits, sooner. Only what SingleTakes.
inline constexpr int kMaxSingleInputs = 4096;
bool SingleTakes(const ProductSet& set);
cudaError_t LaunchSingle(ProductSet set, const ProductLaunch& launch);
// 16-bit weights, any rows; wants the left operands rounded.
cudaError_t LaunchWide(const ProductSet& set, const ProductLaunch& launch);
// Likewise, sooner where a block has several tiles. Only what ResidentTakes.
bool ResidentTakes(const ProductSet& set, const ProductLaunch& launch);
cudaError_t LaunchResident(const ProductSet& set, const ProductLaunch& launch);
// float32 weights.
cudaError_t LaunchFloat(const Product& product, const ProductLaunch& launch);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_KERNELS_H_
