#include "server/session/redis_pool.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "kernels/status_macros.h"

namespace chela {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause(10);
constexpr milliseconds kLongestPause(250);

}  // namespace

absl::Status RedisPool::Run(
    absl::FunctionRef<absl::Status(RedisConnection&)> call) {
  const Clock::time_point give_up = Clock::now() + patience_;
  milliseconds pause = kFirstPause;
  while (true) {
    absl::StatusOr<std::unique_ptr<RedisConnection>> connection = Take();
    absl::Status status = connection.status();
    if (connection.ok()) {
      status = call(**connection);
      if (!(*connection)->broken()) Give(*std::move(connection));
    }
    if (!absl::IsUnavailable(status) || Clock::now() + pause >= give_up) {
      return status;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisPool::Take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  absl::StatusOr<std::unique_ptr<RedisConnection>> connection =
      RedisConnection::Open(address_, patience_);
  if (!connection.ok()) return connection;
  CHELA_RETURN_IF_ERROR(
      (*connection)->Call({"CLIENT", "SETNAME", name_}).status());
  return connection;
}

void RedisPool::Give(std::unique_ptr<RedisConnection> connection) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(connection));
}

}  // namespace chela
