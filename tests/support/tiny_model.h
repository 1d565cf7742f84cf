#ifndef CHELA_TESTS_SUPPORT_TINY_MODEL_H_
#define CHELA_TESTS_SUPPORT_TINY_MODEL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "models/model_config.h"
#include "tests/support/temp_dir.h"

namespace chela::test_support {

// A tensor on its way into a safetensors file. Nothing is checked, so that
// tests can write broken files.
struct TensorToWrite {
  std::string name;
  std::string dtype;  // "F32", ...
  std::vector<int64_t> shape;
  std::string bytes;
};

// The bytes of a safetensors file with these tensors, in this order.
std::string SafetensorsBytes(const std::vector<TensorToWrite>& tensors);

// `values` as elements of `dtype`, rounded to nearest even.
std::string TensorBytes(std::span<const double> values, DType dtype);

// Two layers of a model that answers in microseconds: vocabulary 258 with the
// bytes tokenizer (BOS 256, EOS 257, BOS added), hidden 16, 2 heads, shared 8,
// value 24, intermediate 20, SwiGLU, RMSNorm, elu1, K 3, hierarchical N 32 and
// B 4, float32, untied.
ModelConfig TinyConfig();

struct TinyOptions {
  bool decay = true;  // write the decay tensors
  uint64_t seed = 1;
  DType vectors = DType::kF32;  // type of everything but the matrices, which
                                // have the config's torch_dtype
};

// Random tensors of every name that `config` wants, with values of ordinary
// size: unit-variance products, norm weights around 1, non-zero biases, decays
// in [0.8, 1) and 1 for the last head.
std::vector<TensorToWrite> TinyTensors(const ModelConfig& config,
                                       const TinyOptions& options = {});

// A checkpoint folder that lives as long as this object.
class TinyModel {
 public:
  explicit TinyModel(const ModelConfig& config = TinyConfig(),
                     const TinyOptions& options = {});
  // config.json with exactly this text, model.safetensors of these tensors.
  TinyModel(const std::string& config_json,
            const std::vector<TensorToWrite>& tensors);

  const std::string& directory() const { return directory_.path(); }
  const TempDir& folder() const { return directory_; }

 private:
  TempDir directory_;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SUPPORT_TINY_MODEL_H_
