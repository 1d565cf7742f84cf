#ifndef CHELA_SERVER_SESSION_REDIS_POOL_H_
#define CHELA_SERVER_SESSION_REDIS_POOL_H_

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/redis_connection.h"

namespace chela {

// Connections to one server, as many as calls run at a time. Thread-safe.
class RedisPool {
 public:
  // name: which every connection bears (CLIENT SETNAME).
  RedisPool(RedisAddress address, std::string name,
            std::chrono::milliseconds patience)
      : address_(std::move(address)),
        name_(std::move(name)),
        patience_(patience) {}

  // Runs `call` on a connection; again on a new one, as long as patience
  // lasts, if the connection broke: it must bear to be run twice. A call that
  // the server answered with UNAVAILABLE is repeated, too.
  absl::Status Run(absl::FunctionRef<absl::Status(RedisConnection&)> call);

  const RedisAddress& address() const { return address_; }
  const std::string& name() const { return name_; }

 private:
  absl::StatusOr<std::unique_ptr<RedisConnection>> Take();
  void Give(std::unique_ptr<RedisConnection> connection);

  const RedisAddress address_;
  const std::string name_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_REDIS_POOL_H_
