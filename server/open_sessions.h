#ifndef CHELA_SERVER_OPEN_SESSIONS_H_
#define CHELA_SERVER_OPEN_SESSIONS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/metrics/metrics.h"
#include "server/server_config.h"
#include "server/session/session_registry.h"

namespace chela {

// The sessions of one model in the store that the operator chose. Logs what it
// found there. Errors name the flag.
absl::StatusOr<std::unique_ptr<SessionRegistry>> OpenSessions(
    const ServerConfig& config, const SnapshotModel& model, Metrics& metrics);

}  // namespace chela

#endif  // CHELA_SERVER_OPEN_SESSIONS_H_
