#ifndef CHELA_SERVER_LOADED_MODEL_H_
#define CHELA_SERVER_LOADED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/chela_model.h"
#include "models/generation_defaults.h"
#include "models/state_pool.h"
#include "models/tokenizer.h"
#include "server/server_config.h"

namespace chela {

// A checkpoint on its device with its states, warmed up, ready for an engine.
// Everything is allocated. Members are destroyed in the order they need.
struct LoadedModel {
  std::string directory;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ChelaModel> model;
  std::unique_ptr<StatePool> pool;
  std::unique_ptr<Tokenizer> tokenizer;
  GenerationDefaults defaults;
  int64_t prefix_cache_bytes = 0;  // the config's choice or the default
};

// Opens the device, loads `directory`, allocates the states and runs one step.
// Errors are those of the parts: each one line that names what is wrong.
absl::StatusOr<LoadedModel> LoadModel(const ServerConfig& config,
                                      const std::string& directory);

// How many states are allocated by default: a quarter of the free memory on a
// CPU, which others use too, and at most 256 of them; on a GPU what
// CheckSequences allows, nine tenths at most, and at most 1024.
// RESOURCE_EXHAUSTED if not one fits.
absl::StatusOr<int32_t> DefaultSequences(int64_t free_bytes,
                                         int64_t state_bytes, bool gpu);

// Host memory that the prefix cache may take by default, beside the slots that
// nobody needs: a quarter of the pool's bytes, at most a sixteenth of the free
// memory.
int64_t DefaultPrefixCacheBytes(int64_t free_bytes, int64_t pool_bytes);

// RESOURCE_EXHAUSTED, saying what was asked, what is free and what would fit,
// unless `sequences` states leave an eighth of the free memory, 1 GiB at most,
// to everything else.
absl::Status CheckSequences(int32_t sequences, int64_t free_bytes,
                            int64_t state_bytes);

// "cpu: AMD EPYC 9004, avx512_bf16, 2 threads".
std::string DescribeDevice(const BackendInfo& info);

// What the process may hold in memory once the model is loaded: 1.25 x (packed
// weights, kernels and spectra + all states) + 200 MB for programs, libraries,
// activations and working memory.
int64_t ResidentBound(int64_t weight_bytes, int64_t state_bytes);

// What --check prints: a line a fact.
std::string DescribeModel(const LoadedModel& loaded,
                          const ServerConfig& config);

}  // namespace chela

#endif  // CHELA_SERVER_LOADED_MODEL_H_
