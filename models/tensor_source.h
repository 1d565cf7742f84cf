#ifndef CHELA_MODELS_TENSOR_SOURCE_H_
#define CHELA_MODELS_TENSOR_SOURCE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"
#include "models/tensor_specs.h"

namespace chela {

// Host rows of one matrix, and their memory where the source had to make them.
struct HostMatrix {
  MatrixPart part;
  std::unique_ptr<float[]> storage;  // none if `part` points into the source
};

// Where a WeightsBuilder gets tensors from: checked values of exactly the
// shape that the spec names. Owned by one thread.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // Whether an optional tensor is there.
  virtual bool Has(const TensorSpec& spec) const = 0;
  // Row-major, as a checkpoint stores it.
  virtual absl::StatusOr<std::vector<float>> Vector(const TensorSpec& spec) = 0;
  // Valid as long as both the result and the source live.
  virtual absl::StatusOr<HostMatrix> Matrix(const TensorSpec& spec) = 0;
};

}  // namespace chela

#endif  // CHELA_MODELS_TENSOR_SOURCE_H_
