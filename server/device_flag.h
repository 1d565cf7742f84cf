#ifndef CHELA_SERVER_DEVICE_FLAG_H_
#define CHELA_SERVER_DEVICE_FLAG_H_

#include <string>

#include "absl/status/status.h"
#include "server/server_config.h"

namespace chela {

// --device: "auto", "cpu", "cuda" (GPU 0) or "cuda:N[,M...]", each number once.
// INVALID_ARGUMENT says what was found and what is wanted.
absl::Status ParseDevice(const std::string& text, ServerConfig* config);

}  // namespace chela

#endif  // CHELA_SERVER_DEVICE_FLAG_H_
