#ifndef CHELA_SERVER_LOADED_MODEL_H_
#define CHELA_SERVER_LOADED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/generation_defaults.h"
#include "models/tokenizer.h"
#include "server/loaded_device.h"
#include "server/server_config.h"

namespace chela {

// A checkpoint on its devices, ready for an engine.
struct LoadedModel {
  std::string directory;
  std::vector<LoadedDevice> devices;  // at least one, all alike
  std::unique_ptr<Tokenizer> tokenizer;
  GenerationDefaults defaults;
  int64_t prefix_cache_bytes = 0;  // the config's choice or the default
};

// Loads `directory` and LoadDevices. Errors are those of the parts: each one
// line that names what is wrong.
absl::StatusOr<LoadedModel> LoadModel(const ServerConfig& config,
                                      const std::string& directory);

// "cpu: AMD EPYC 9004, avx512_bf16, 2 threads"; of several, the names in front:
// "cuda:0, cuda:1: NVIDIA H100, sm_90, 1 thread".
std::string DescribeDevices(const std::vector<LoadedDevice>& devices);

// What --check prints: a line a fact.
std::string DescribeModel(const LoadedModel& loaded,
                          const ServerConfig& config);

}  // namespace chela

#endif  // CHELA_SERVER_LOADED_MODEL_H_
