#include "server/open_sessions.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/log.h"
#include "server/session/folder_store.h"
#include "server/session/redis_store.h"

namespace chela {
namespace {

// Null for memory.
absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenStore(
    const std::string& where) {
  if (where == "memory") return nullptr;
  if (absl::StartsWith(where, "redis://") ||
      absl::StartsWith(where, "unix://")) {
    const absl::StatusOr<RedisAddress> address = RedisAddress::Parse(where);
    if (!address.ok()) return address.status();
    return OpenRedisStore({.address = *address});
  }
  return OpenFolderStore(where);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionRegistry>> OpenSessions(
    const ServerConfig& config, const SnapshotModel& model, Metrics& metrics) {
  const std::string& where = config.session_store;
  absl::StatusOr<std::unique_ptr<SnapshotStore>> store = OpenStore(where);
  if (!store.ok()) {
    return absl::Status(
        store.status().code(),
        absl::StrCat("--session-store: ", store.status().message()));
  }
  RegistryOptions options;
  options.model = model;
  options.memory_bytes = config.session_memory_bytes;
  options.default_ttl = std::chrono::hours(*store == nullptr ? 1 : 24);
  if (config.session_ttl.has_value()) {
    // Rounded up, so that no duration becomes 0, which means never.
    options.default_ttl =
        std::chrono::ceil<std::chrono::seconds>(*config.session_ttl);
  }
  options.max_sessions_per_user = config.max_sessions_per_user;
  options.max_bytes_per_user = config.max_session_bytes_per_user;
  absl::StatusOr<std::unique_ptr<SessionRegistry>> sessions =
      SessionRegistry::Open(std::move(options), *std::move(store), metrics);
  if (!sessions.ok()) {
    return absl::Status(
        sessions.status().code(),
        absl::StrCat("--session-store: ", sessions.status().message()));
  }
  for (const std::string& warning : (*sessions)->warnings()) {
    Log(spdlog::level::warn, "session", {{"warning", warning}});
  }
  return sessions;
}

}  // namespace chela
