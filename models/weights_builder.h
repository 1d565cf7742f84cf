#ifndef CHELA_MODELS_WEIGHTS_BUILDER_H_
#define CHELA_MODELS_WEIGHTS_BUILDER_H_

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/tensor_source.h"
#include "models/weights.h"

namespace chela {

// Brings the tensors of a source into a backend's memory in the form that the
// ops read: projections stacked, matrices packed, convolution weights
// transposed, vectors in one block a layer. Used once, by one thread.
class WeightsBuilder {
 public:
  // All three must outlive the builder. Matrices are packed as `matrices`.
  WeightsBuilder(Backend& backend, const ModelConfig& config,
                 TensorSource& source, DType matrices);

  // RESOURCE_EXHAUSTED if the backend's memory is too small; what the source
  // and the backend return otherwise.
  absl::StatusOr<std::unique_ptr<Weights>> Build(std::string fingerprint);

 private:
  using Names = std::initializer_list<const char*>;

  const TensorSpec& Spec(const char* name) const;  // below prefix_
  absl::Status ReadLayer(LayerWeights& layer);
  absl::Status ReadConvolutions(LayerWeights& layer);
  absl::Status ReadAttention(LayerWeights& layer);
  absl::Status ReadNorm(const std::string& name, Norm& norm);
  // The tensors one after the other; *target is set by Flush.
  absl::Status ReadVector(Names names, const float** target);
  // [.., width, taps] becomes [.., taps, width].
  absl::Status ReadTransposed(const char* name, const float** target);
  // The tensors' rows one after the other.
  absl::Status ReadMatrix(Names names, std::unique_ptr<Matrix>& target);
  void Stage(std::vector<float> values, const float** target);
  // Uploads the staged vectors as one block and sets their pointers.
  absl::Status Flush();

  Backend& backend_;
  TensorSource& source_;
  DType matrices_;
  std::map<std::string, TensorSpec> specs_;
  std::string prefix_;
  std::vector<std::pair<std::vector<float>, const float**>> staged_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace chela

#endif  // CHELA_MODELS_WEIGHTS_BUILDER_H_
