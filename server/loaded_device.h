#ifndef CHELA_SERVER_LOADED_DEVICE_H_
#define CHELA_SERVER_LOADED_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/chela_model.h"
#include "models/state_pool.h"
#include "server/server_config.h"

namespace chela {

// A device with the whole model and its states on it, warmed up. Everything is
// allocated. Members are destroyed in the order they need.
struct LoadedDevice {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ChelaModel> model;
  std::unique_ptr<StatePool> pool;
  int64_t opened_free_bytes = 0;  // before anything was loaded
};

// Opens the devices that the config names, and loads `directory` on each of
// them, side by side. All get the same number of states, that of the device on
// which the fewest fit. A GPU first runs its largest steps (warm_up.h), so that
// states are sized by what is really free, and then every shape of decode step.
// Errors are those of the parts, with the device in front where there are
// several; FAILED_PRECONDITION if the devices are not of one model, since a
// request must get the same bits on each.
absl::StatusOr<std::vector<LoadedDevice>> LoadDevices(
    const ServerConfig& config, const std::string& directory);

}  // namespace chela

#endif  // CHELA_SERVER_LOADED_DEVICE_H_
