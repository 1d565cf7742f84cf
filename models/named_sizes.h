#ifndef CHELA_MODELS_NAMED_SIZES_H_
#define CHELA_MODELS_NAMED_SIZES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/model_config.h"

namespace chela {

// The sizes that figures are quoted for: "31m", "125m", "350m", "1.3b"
// (parameters with the hierarchical kernel), bf16, SwiGLU, RMSNorm, elu1,
// tied, K 7, N 8192, B 16. `kind` changes the long kernel and nothing else.
// INVALID_ARGUMENT for another name, listing these.
absl::StatusOr<ModelConfig> NamedSize(const std::string& name,
                                      LongConvKind kind);

// In ascending order.
std::vector<std::string> NamedSizes();

}  // namespace chela

#endif  // CHELA_MODELS_NAMED_SIZES_H_
