#ifndef CHELA_KERNELS_CUDA_PRODUCT_PAIR_H_
#define CHELA_KERNELS_CUDA_PRODUCT_PAIR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/product_pair.h"

namespace chela::cuda {

// chela::MakeProductPair, for CUDA: own products beside the fastest of those
// algorithms of cuBLASLt (256 at most) that its heuristic names for the shape,
// splits of K and 32 MiB of workspace included. Each is timed in a graph.
absl::StatusOr<std::unique_ptr<ProductPair>> MakeProductPair(
    const BackendOptions& options, const PairedProduct& product);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_PAIR_H_
