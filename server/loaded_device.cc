#include "server/loaded_device.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/warm_up.h"
#include "server/rpc/log.h"
#include "server/state_budget.h"

namespace chela {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool IsGpu(const Backend& backend) { return backend.Info().name != "cpu"; }

absl::StatusOr<LoadedDevice> Open(const BackendOptions& options) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(options);
  if (!backend.ok()) return backend.status();
  LoadedDevice device;
  device.backend = *std::move(backend);
  device.opened_free_bytes = device.backend->FreeBytes();
  return device;
}

// One after the other: the first that cannot be opened is named.
absl::StatusOr<std::vector<LoadedDevice>> OpenDevices(
    const ServerConfig& config) {
  std::vector<LoadedDevice> devices;
  BackendOptions options;
  options.threads = config.threads;
  if (config.device != DeviceChoice::kCpu) {
    options.kind = BackendKind::kCuda;
    for (const int32_t number : config.device_numbers) {
      options.device = number;
      absl::StatusOr<LoadedDevice> device = Open(options);
      const bool absent = absl::IsNotFound(device.status()) ||
                          absl::IsUnavailable(device.status());
      if (!device.ok() && config.device == DeviceChoice::kAuto && absent) {
        Log(spdlog::level::info, "no CUDA device, using the CPU",
            {{"reason", std::string(device.status().message())}});
        break;
      }
      if (!device.ok()) {
        return absl::Status(
            device.status().code(),
            absl::StrCat("--device: ", device.status().message()));
      }
      devices.push_back(*std::move(device));
    }
    if (!devices.empty()) return devices;
  }
  options.kind = BackendKind::kCpu;
  absl::StatusOr<LoadedDevice> device = Open(options);
  if (!device.ok()) return device.status();
  devices.push_back(*std::move(device));
  return devices;
}

absl::Status CheckAlike(const std::vector<LoadedDevice>& devices) {
  const BackendInfo first = devices.front().backend->Info();
  for (const LoadedDevice& device : devices) {
    const BackendInfo info = device.backend->Info();
    if (info.device == first.device && info.kernels == first.kernels) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "--device: ", info.name, " is a ", info.device, " (", info.kernels,
        "); want a ", first.device, " (", first.kernels, ") like ", first.name,
        ": a request must get the same bits on each device"));
  }
  return absl::OkStatus();
}

// Runs `work` for each device, side by side where there are several; the first
// error in their order.
absl::Status ForEach(std::vector<LoadedDevice>& devices,
                     const std::function<absl::Status(LoadedDevice&)>& work) {
  if (devices.size() == 1) return work(devices.front());
  std::vector<absl::Status> results(devices.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < devices.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = work(devices[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < devices.size(); ++i) {
    if (results[i].ok()) continue;
    return absl::Status(results[i].code(),
                        absl::StrCat(devices[i].backend->Info().name, ": ",
                                     results[i].message()));
  }
  return absl::OkStatus();
}

// The largest steps, on states that are given back: what is free afterwards can
// be given to states.
absl::Status RunLargestSteps(LoadedDevice& device) {
  const ModelConfig& config = device.model->config();
  const int64_t fit =
      device.backend->FreeBytes() / 4 / config.state_layout().slot_bytes();
  const int64_t chunks =
      (device.model->max_rows() + kChunkTokens - 1) / kChunkTokens;
  absl::StatusOr<std::unique_ptr<StatePool>> pool = StatePool::Create(
      *device.backend, config,
      static_cast<int32_t>(std::max<int64_t>(1, std::min(chunks, fit))));
  if (!pool.ok()) return pool.status();
  return WarmUpChunks(*device.model, **pool);
}

absl::Status LoadWeights(LoadedDevice& device, const ServerConfig& config,
                         const std::string& directory) {
  const Clock::time_point start = Clock::now();
  absl::StatusOr<std::unique_ptr<Weights>> weights = Weights::Load(
      *device.backend, directory,
      config.int8_weights ? std::optional<DType>(DType::kI8) : std::nullopt,
      config.attention_replay);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<std::unique_ptr<ChelaModel>> model = ChelaModel::Create(
      *device.backend, *std::move(weights), config.max_batch_tokens);
  if (!model.ok()) return model.status();
  device.model = *std::move(model);
  Log(spdlog::level::info, "weights loaded",
      {{"device", device.backend->Info().name},
       {"seconds", SecondsSince(start)}});
  return IsGpu(*device.backend) ? RunLargestSteps(device) : absl::OkStatus();
}

// The config's choice, or what fits on every device.
absl::StatusOr<int32_t> ChooseSequences(
    const ServerConfig& config, const std::vector<LoadedDevice>& devices) {
  const int64_t state_bytes =
      devices.front().model->config().state_layout().slot_bytes();
  int32_t sequences = config.max_sequences;
  for (const LoadedDevice& device : devices) {
    const int64_t free_bytes = device.backend->FreeBytes();
    absl::StatusOr<int32_t> fit = config.max_sequences;
    if (config.max_sequences == 0) {
      fit = DefaultSequences(free_bytes, state_bytes, IsGpu(*device.backend));
    }
    absl::Status status = fit.status();
    if (status.ok()) status = CheckSequences(*fit, free_bytes, state_bytes);
    if (!status.ok()) {
      return absl::Status(
          status.code(),
          absl::StrCat(device.backend->Info().name, ": ", status.message()));
    }
    sequences = sequences == 0 ? *fit : std::min(sequences, *fit);
  }
  return sequences;
}

absl::Status MakeStates(LoadedDevice& device, int32_t sequences, bool poison) {
  absl::StatusOr<std::unique_ptr<StatePool>> pool = StatePool::Create(
      *device.backend, device.model->config(), sequences, poison);
  if (!pool.ok()) {
    return absl::Status(
        pool.status().code(),
        absl::StrCat("--max-sequences: ", pool.status().message()));
  }
  device.pool = *std::move(pool);
  const Clock::time_point start = Clock::now();
  // A CPU's first step pays for pages and threads; others cost what they cost.
  const absl::Status warm = IsGpu(*device.backend)
                                ? WarmUpDecode(*device.model, *device.pool)
                                : WarmUpToken(*device.model, *device.pool);
  if (!warm.ok()) {
    return absl::Status(warm.code(), absl::StrCat("warm-up: ", warm.message()));
  }
  Log(spdlog::level::info, "device loaded",
      {{"device", device.backend->Info().name},
       {"name", device.backend->Info().device},
       {"states", sequences},
       {"warm_up_seconds", SecondsSince(start)},
       {"free_bytes", device.backend->FreeBytes()}});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<LoadedDevice>> LoadDevices(
    const ServerConfig& config, const std::string& directory) {
  absl::StatusOr<std::vector<LoadedDevice>> devices = OpenDevices(config);
  if (!devices.ok()) return devices.status();
  CHELA_RETURN_IF_ERROR(CheckAlike(*devices));
  CHELA_RETURN_IF_ERROR(ForEach(*devices, [&](LoadedDevice& device) {
    return LoadWeights(device, config, directory);
  }));
  const absl::StatusOr<int32_t> sequences = ChooseSequences(config, *devices);
  if (!sequences.ok()) return sequences.status();
  CHELA_RETURN_IF_ERROR(ForEach(*devices, [&](LoadedDevice& device) {
    return MakeStates(device, *sequences, config.poison_free_states);
  }));
  return devices;
}

}  // namespace chela
