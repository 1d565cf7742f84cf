#include "server/loaded_model.h"

#include <malloc.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/machine.h"
#include "kernels/status_macros.h"
#include "server/rpc/log.h"

namespace chela {
namespace {

constexpr int64_t kMaxCpuSequences = 256;
constexpr int64_t kMaxGpuSequences = 1024;

// What states must leave free: prompts, answers and working memory of steps
// come later, and a machine without any is lost to everybody on it.
int64_t Reserve(int64_t free_bytes) {
  return std::min(free_bytes / 8, int64_t{1} << 30);
}

absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(
    const ServerConfig& config) {
  BackendOptions options;
  options.threads = config.threads;
  options.device = config.device_number;
  if (config.device != DeviceChoice::kCpu) {
    options.kind = BackendKind::kCuda;
    absl::StatusOr<std::unique_ptr<Backend>> cuda = MakeBackend(options);
    const bool absent =
        absl::IsNotFound(cuda.status()) || absl::IsUnavailable(cuda.status());
    if (config.device == DeviceChoice::kCuda || !absent) return cuda;
    Log(spdlog::level::info, "no CUDA device, using the CPU",
        {{"reason", std::string(cuda.status().message())}});
  }
  options.kind = BackendKind::kCpu;
  return MakeBackend(options);
}

void WarnOfUnknownKeys(const std::string& file,
                       const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    Log(spdlog::level::warn, "unknown key in the checkpoint",
        {{"file", file}, {"key", key}});
  }
}

// The first step pays for pages, threads and device code that later ones find
// ready, and shows a device that does not work before anybody relies on it.
absl::Status WarmUp(ChelaModel& model, StatePool& pool) {
  absl::StatusOr<StatePool::Slot> slot = pool.Acquire();
  if (!slot.ok()) return slot.status();
  StepPlan plan;
  plan.segments = {
      {.slot = slot->id(), .first_row = 0, .rows = 1, .position = 0}};
  plan.tokens = {0};
  plan.logits_rows = {0};
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  return model.Forward(plan, pool, logits);
}

std::string Mebibytes(int64_t bytes) {
  return absl::StrCat(bytes / (1 << 20), ".",
                      bytes % (1 << 20) * 10 / (1 << 20), " MiB");
}

}  // namespace

absl::StatusOr<int32_t> DefaultSequences(int64_t free_bytes,
                                         int64_t state_bytes, bool gpu) {
  const int64_t budget =
      gpu ? std::min(free_bytes / 10 * 9, free_bytes - Reserve(free_bytes))
          : free_bytes / 4;
  const int64_t fit = budget / state_bytes;
  if (fit < 1) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "--max-sequences: one state needs ", state_bytes, " bytes, ",
        free_bytes, " are free and ", budget,
        " of them may be used; want a machine with more memory or an explicit "
        "number"));
  }
  return static_cast<int32_t>(
      std::min(fit, gpu ? kMaxGpuSequences : kMaxCpuSequences));
}

int64_t DefaultPrefixCacheBytes(int64_t free_bytes, int64_t pool_bytes) {
  return std::min(pool_bytes / 4, free_bytes / 16);
}

absl::Status CheckSequences(int32_t sequences, int64_t free_bytes,
                            int64_t state_bytes) {
  const int64_t reserve = Reserve(free_bytes);
  const int64_t fit = (free_bytes - reserve) / state_bytes;
  if (sequences <= fit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("--max-sequences: ", sequences, " states of ", state_bytes,
                   " bytes asked; ", free_bytes, " bytes are free, ", reserve,
                   " of them kept for requests; want at most ", fit));
}

int64_t ResidentBound(int64_t weight_bytes, int64_t state_bytes) {
  return (weight_bytes + state_bytes) / 4 * 5 + 200'000'000;
}

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

  absl::StatusOr<std::unique_ptr<Backend>> backend = OpenDevice(config);
  if (!backend.ok()) return backend.status();
  loaded.backend = *std::move(backend);
  absl::StatusOr<std::unique_ptr<Weights>> weights = Weights::Load(
      *loaded.backend, directory,
      config.int8_weights ? std::optional<DType>(DType::kI8) : std::nullopt);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<std::unique_ptr<ChelaModel>> model = ChelaModel::Create(
      *loaded.backend, *std::move(weights), config.max_batch_tokens);
  if (!model.ok()) return model.status();
  loaded.model = *std::move(model);

  absl::StatusOr<int32_t> sequences = config.max_sequences;
  const int64_t free_bytes = loaded.backend->FreeBytes();
  const int64_t state_bytes = model_config->state_layout().slot_bytes();
  if (config.max_sequences == 0) {
    sequences = DefaultSequences(free_bytes, state_bytes,
                                 loaded.backend->Info().name != "cpu");
  }
  if (!sequences.ok()) return sequences.status();
  CHELA_RETURN_IF_ERROR(CheckSequences(*sequences, free_bytes, state_bytes));
  absl::StatusOr<std::unique_ptr<StatePool>> pool =
      StatePool::Create(*loaded.backend, *model_config, *sequences);
  if (!pool.ok()) {
    return absl::Status(
        pool.status().code(),
        absl::StrCat("--max-sequences: ", pool.status().message()));
  }
  loaded.pool = *std::move(pool);
  CHELA_RETURN_IF_ERROR(WarmUp(*loaded.model, *loaded.pool));
  // What loading took and freed goes back to the system.
  malloc_trim(0);
  loaded.prefix_cache_bytes = config.prefix_cache_bytes;
  if (loaded.prefix_cache_bytes < 0) {
    // On the host, wherever the pool is.
    loaded.prefix_cache_bytes = DefaultPrefixCacheBytes(
        FreeMemoryBytes(),
        loaded.pool->slot_bytes() * loaded.pool->num_slots());
  }
  return loaded;
}

std::string DescribeDevice(const BackendInfo& info) {
  return absl::StrCat(info.name, ": ", info.device, ", ", info.kernels, ", ",
                      info.threads, info.threads == 1 ? " thread" : " threads");
}

std::string DescribeModel(const LoadedModel& loaded,
                          const ServerConfig& config) {
  const ModelConfig& model = loaded.model->config();
  const int64_t state_bytes = loaded.pool->slot_bytes();
  const int64_t free_bytes = loaded.backend->FreeBytes();
  const int64_t pool_bytes = state_bytes * loaded.pool->num_slots();
  const int64_t weight_bytes = loaded.model->weights().size_bytes();
  return absl::StrCat(
      "model: ", loaded.directory, "\n",
      "fingerprint: ", loaded.model->weights().fingerprint(), "\n",
      "parameters: ", model.parameters(), "\n",
      "tokenizer: ", loaded.tokenizer->kind(), ", ",
      loaded.tokenizer->vocab_size(), " tokens\n",
      "device: ", DescribeDevice(loaded.backend->Info()), "\n",
      "kernels: ", loaded.backend->Info().kernels, "\n",
      "matrices: ", Name(loaded.model->weights().head().dtype()), "\n",
      "chunk: ", kChunkTokens, " tokens\n",
      "tokens of a step: ", config.max_batch_tokens, "\n",
      "bytes a state: ", state_bytes, "\n",
      "states allocated: ", loaded.pool->num_slots(), "\n", "states that fit: ",
      loaded.pool->num_slots() +
          (free_bytes - Reserve(free_bytes)) / state_bytes,
      "\n", "memory, weights: ", Mebibytes(weight_bytes), "\n",
      "memory, activations: ", Mebibytes(loaded.model->activation_bytes()),
      "\n", "memory, states: ", Mebibytes(pool_bytes), "\n",
      "memory, prefix cache: at most ", Mebibytes(loaded.prefix_cache_bytes),
      config.prefix_cache_dir.empty()
          ? ""
          : absl::StrCat(", on the disk: at most ",
                         Mebibytes(config.prefix_cache_disk_bytes)),
      "\n", "memory, resident: ", Mebibytes(ResidentBytes()), ", bound ",
      Mebibytes(ResidentBound(weight_bytes, pool_bytes)), "\n",
      "memory, still free: ", Mebibytes(free_bytes), "\n");
}

}  // namespace chela
