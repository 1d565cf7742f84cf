#ifndef CHELA_KERNELS_PRODUCT_PAIR_H_
#define CHELA_KERNELS_PRODUCT_PAIR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace chela {

// A product of a layer as a step runs it, for ProductPair.
struct PairedProduct {
  // What its end does besides storing.
  enum class End {
    kStore,     // also the input products and the logits
    kGated,     // the output of a layer's first half
    kSwiglu,    // up; the results are rounded for down
    kResidual,  // down
  };
  int64_t outputs = 0;  // rows of the weight
  int64_t inputs = 0;
  int32_t rows = 1;
  End end = End::kStore;
  bool chunk = false;  // rows of one prompt; else a token each of as many texts
  int64_t copies = 1;  // of the weight, which take turns
};

// A device's product beside the fastest one of the vendor's library, both bf16
// with float32 sums, both recorded as one graph of calls() products that take
// turns with the copies of the weight; the left operand is rounded already (but
// for the backend's own products of one row, which round it themselves). The
// library's end stores the sums and nothing else.
//
// Threads: owned by one thread.
class ProductPair {
 public:
  virtual ~ProductPair() = default;
  virtual int64_t calls() const = 0;
  // Each runs its graph once and waits for its end.
  virtual absl::Status RunOwn() = 0;
  virtual absl::Status RunPeer() = 0;
  // How many algorithms of the library were timed, and which one is the peer.
  virtual int32_t algorithms() const = 0;
  virtual std::string peer() const = 0;
};

// On the device of `options`. UNIMPLEMENTED for the CPU, whose peer is
// chela-bench's own; INVALID_ARGUMENT for sizes below 1; RESOURCE_EXHAUSTED if
// the copies do not fit; the errors of MakeBackend.
absl::StatusOr<std::unique_ptr<ProductPair>> MakeProductPair(
    const BackendOptions& options, const PairedProduct& product);

}  // namespace chela

#endif  // CHELA_KERNELS_PRODUCT_PAIR_H_
