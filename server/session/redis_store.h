#ifndef CHELA_SERVER_SESSION_REDIS_STORE_H_
#define CHELA_SERVER_SESSION_REDIS_STORE_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/session/redis_connection.h"
#include "server/session/snapshot_store.h"

namespace chela {

struct RedisStoreOptions {
  RedisAddress address;
  std::string prefix = "chela:";  // of every key
  // How long a call goes on trying while the server is gone. One attempt to
  // connect, or one wait for an answer, takes no longer than this either: a
  // call is UNAVAILABLE after three times this at most.
  std::chrono::milliseconds patience = std::chrono::seconds(3);
};

// Sessions in Redis 6 or newer, one server (no cluster):
//   PREFIXsessions       hash: id -> record
//   PREFIXsnapshots:ID   hash: key -> snapshot
//   PREFIXlock           who uses them: a name that its connections bear
// A turn is one MULTI/EXEC. How much of it a crash of Redis loses is set there
// (appendonly yes, appendfsync always: nothing). Keys get no expiry of their
// own: the registry removes sessions whose time is over.
//
// The lock is free when no connection bears its name any more, at once after a
// process has died; a change checks it in the same transaction, so that a
// server that has lost it (cut off for long enough that another began) can't
// write. Redis must keep idle connections (timeout 0, its default).
// Should it come back without its data, nothing can be written until this
// server is started again: what it remembers would not fit.
//
// FAILED_PRECONDITION if another server has the lock, or for a wrong password;
// UNAVAILABLE without a server. The process must ignore SIGPIPE.
absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenRedisStore(
    const RedisStoreOptions& options);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_REDIS_STORE_H_
