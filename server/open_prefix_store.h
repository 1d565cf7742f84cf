#ifndef CHELA_SERVER_OPEN_PREFIX_STORE_H_
#define CHELA_SERVER_OPEN_PREFIX_STORE_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "server/engine/prefix_store.h"
#include "server/loaded_model.h"
#include "server/server_config.h"

namespace chela {

// The folder that the operator chose for the prefix cache, of device `index`:
// where there are several, each has a folder in that one, named by its index.
// Logs what it removes there. Errors name the flag.
absl::StatusOr<std::unique_ptr<PrefixStore>> OpenPrefixStore(
    const ServerConfig& config, const LoadedModel& loaded, size_t index);

}  // namespace chela

#endif  // CHELA_SERVER_OPEN_PREFIX_STORE_H_
