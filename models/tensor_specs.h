#ifndef CHELA_MODELS_TENSOR_SPECS_H_
#define CHELA_MODELS_TENSOR_SPECS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "models/model_config.h"

namespace chela {

// A tensor that a checkpoint of some config has: the only list of names and
// shapes. Loader, parameter count, random weights and the tests' checkpoint
// writer all go by it.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // as stored, matrices [out, in]
  bool matrix = false;  // packed with the config's torch_dtype; others are
                        // float32 in memory
  bool decay = false;   // attention.decay: may be missing; values in (0, 1]

  int64_t elements() const {
    int64_t product = 1;
    for (const int64_t size : shape) product *= size;
    return product;
  }
};

// "model.layers.<layer>.", the prefix of a layer's names.
std::string LayerPrefix(int32_t layer);

// Every tensor of `config`, decays included: those outside the
// layers first, then layer by layer.
std::vector<TensorSpec> TensorSpecs(const ModelConfig& config);

}  // namespace chela

#endif  // CHELA_MODELS_TENSOR_SPECS_H_
