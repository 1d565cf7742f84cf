#include "server/open_prefix_store.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/log.h"
#include "server/session/prefix_folder.h"
#include "server/session/snapshot_model.h"

namespace chela {
namespace {

// Whatever decides about the bits of a state: a hit gives those of a miss.
std::string Identity(const LoadedDevice& device) {
  const Weights& weights = device.model->weights();
  const BackendInfo info = device.backend->Info();
  const SnapshotModel model =
      MakeSnapshotModel(weights.config(), weights.fingerprint());
  return absl::StrCat(model.fingerprint, "; ", model.layout, "; ",
                      Name(weights.head().dtype()), "; ", info.name, ": ",
                      info.device, ", ", info.kernels, "; ", CHELA_VERSION);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrefixStore>> OpenPrefixStore(
    const ServerConfig& config, const LoadedModel& loaded, size_t index) {
  if (loaded.prefix_cache_bytes == 0) {
    return absl::InvalidArgumentError(
        "--prefix-cache-dir: the prefix cache is off; want "
        "--prefix-cache-bytes above 0");
  }
  PrefixFolderOptions options;
  const LoadedDevice& device = loaded.devices[index];
  options.folder = config.prefix_cache_dir;
  if (loaded.devices.size() > 1) {
    options.folder = absl::StrCat(options.folder, "/", index);
  }
  options.identity = Identity(device);
  options.state_bytes = device.pool->slot_bytes();
  options.warn = [](const std::string& warning) {
    Log(spdlog::level::warn, "prefix cache", {{"warning", warning}});
  };
  absl::StatusOr<std::unique_ptr<PrefixStore>> store =
      OpenPrefixFolder(std::move(options));
  if (store.ok()) return store;
  return absl::Status(
      store.status().code(),
      absl::StrCat("--prefix-cache-dir: ", store.status().message()));
}

}  // namespace chela
