#include "server/loaded_model.h"

#include <malloc.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/cpu/machine.h"
#include "server/rpc/log.h"
#include "server/state_budget.h"

namespace chela {
namespace {

void WarnOfUnknownKeys(const std::string& file,
                       const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    Log(spdlog::level::warn, "unknown key in the checkpoint",
        {{"file", file}, {"key", key}});
  }
}

std::string Mebibytes(int64_t bytes) {
  return absl::StrCat(bytes / (1 << 20), ".",
                      bytes % (1 << 20) * 10 / (1 << 20), " MiB");
}

// Of all devices.
int64_t PoolBytes(const LoadedModel& loaded) {
  const StatePool& pool = *loaded.devices.front().pool;
  return pool.slot_bytes() * pool.num_slots() *
         static_cast<int64_t>(loaded.devices.size());
}

}  // namespace

absl::StatusOr<LoadedModel> LoadModel(const ServerConfig& config,
                                      const std::string& directory) {
  LoadedModel loaded;
  loaded.directory = directory;
  // Small files first: a wrong folder is noticed before the device is opened.
  const absl::StatusOr<ModelConfig> model_config = ModelConfig::Load(directory);
  if (!model_config.ok()) return model_config.status();
  WarnOfUnknownKeys("config.json", model_config->unknown_keys);
  absl::StatusOr<GenerationDefaults> defaults =
      GenerationDefaults::Load(directory);
  if (!defaults.ok()) return defaults.status();
  WarnOfUnknownKeys("generation_config.json", defaults->unknown_keys);
  loaded.defaults = *std::move(defaults);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Load(directory, *model_config);
  if (!tokenizer.ok()) return tokenizer.status();
  loaded.tokenizer = *std::move(tokenizer);

  absl::StatusOr<std::vector<LoadedDevice>> devices =
      LoadDevices(config, directory);
  if (!devices.ok()) return devices.status();
  loaded.devices = *std::move(devices);
  // What loading took and freed goes back to the system.
  malloc_trim(0);
  loaded.prefix_cache_bytes = config.prefix_cache_bytes;
  if (loaded.prefix_cache_bytes < 0) {
    // On the host, wherever the pools are.
    loaded.prefix_cache_bytes =
        DefaultPrefixCacheBytes(FreeMemoryBytes(), PoolBytes(loaded));
  }
  return loaded;
}

std::string DescribeDevices(const std::vector<LoadedDevice>& devices) {
  std::vector<std::string> names;
  for (const LoadedDevice& device : devices) {
    names.push_back(device.backend->Info().name);
  }
  const BackendInfo info = devices.front().backend->Info();
  return absl::StrCat(absl::StrJoin(names, ", "), ": ", info.device, ", ",
                      info.kernels, ", ", info.threads,
                      info.threads == 1 ? " thread" : " threads");
}

std::string DescribeModel(const LoadedModel& loaded,
                          const ServerConfig& config) {
  const ChelaModel& model = *loaded.devices.front().model;
  const StatePool& pool = *loaded.devices.front().pool;
  const int64_t weight_bytes = model.weights().size_bytes();
  std::string text = absl::StrCat(
      "model: ", loaded.directory, "\n",
      "fingerprint: ", model.weights().fingerprint(), "\n",
      "parameters: ", model.config().parameters(), "\n",
      "tokenizer: ", loaded.tokenizer->kind(), ", ",
      loaded.tokenizer->vocab_size(), " tokens\n",
      "device: ", DescribeDevices(loaded.devices), "\n",
      "kernels: ", loaded.devices.front().backend->Info().kernels, "\n",
      "matrices: ", Name(model.weights().head().dtype()), "\n",
      "chunk: ", kChunkTokens, " tokens\n",
      "tokens of a step: ", config.max_batch_tokens, "\n", "attention replay: ",
      config.attention_replay == 0 ? "off"
                                   : absl::StrCat(config.attention_replay),
      "\n", "bytes a state: ", pool.slot_bytes(), "\n",
      "states allocated: ", pool.num_slots(),
      loaded.devices.size() > 1 ? " on each device" : "", "\n",
      "memory, prefix cache: at most ", Mebibytes(loaded.prefix_cache_bytes),
      config.prefix_cache_dir.empty()
          ? ""
          : absl::StrCat(", on the disk: at most ",
                         Mebibytes(config.prefix_cache_disk_bytes)),
      "\n", "memory, weights: ", Mebibytes(weight_bytes), "\n",
      "memory, activations: ", Mebibytes(model.activation_bytes()), "\n",
      "memory, states: ", Mebibytes(pool.slot_bytes() * pool.num_slots()), "\n",
      "memory, resident: ", Mebibytes(ResidentBytes()), ", bound ",
      Mebibytes(ResidentBound(weight_bytes, PoolBytes(loaded))), "\n");
  for (const LoadedDevice& device : loaded.devices) {
    const int64_t free_bytes = device.backend->FreeBytes();
    const std::string of =
        loaded.devices.size() > 1
            ? absl::StrCat(" on ", device.backend->Info().name)
            : "";
    absl::StrAppend(
        &text, "states that fit", of, ": ",
        pool.num_slots() +
            (free_bytes - ReservedBytes(free_bytes)) / pool.slot_bytes(),
        "\n", "memory, still free", of, ": ", Mebibytes(free_bytes), "\n");
  }
  return text;
}

}  // namespace chela
