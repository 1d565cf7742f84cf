#ifndef CHELA_SERVER_SESSION_REDIS_CONNECTION_H_
#define CHELA_SERVER_SESSION_REDIS_CONNECTION_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct redisContext;

namespace chela {

// Where a Redis server is:
//   redis://[[user]:password@]host[:6379][/database]
//   unix://[[user]:password@]/path/of/socket
// User and password may have %XX for any byte. No TLS.
struct RedisAddress {
  std::string host;
  int port = 6379;
  std::string socket;  // its path; then host and port mean nothing
  std::string user;
  std::string password;
  int database = 0;

  // INVALID_ARGUMENT; shows no password.
  static absl::StatusOr<RedisAddress> Parse(std::string_view url);
  std::string Name() const;  // without the password
};

struct RedisReply {
  enum class Kind { kNil, kText, kInteger, kArray, kError };
  Kind kind = Kind::kNil;
  std::string text;  // of kText and kError
  int64_t integer = 0;
  std::vector<RedisReply> items;
};

// One connection. Owned by one thread at a time. The process must ignore
// SIGPIPE.
class RedisConnection {
 public:
  // timeout: of connecting, and of each wait for an answer. UNAVAILABLE if
  // there is no server, FAILED_PRECONDITION if it refuses the password or the
  // database.
  static absl::StatusOr<std::unique_ptr<RedisConnection>> Open(
      const RedisAddress& address, std::chrono::milliseconds timeout);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;

  // The answer, or UNAVAILABLE: the connection is then broken and what the
  // server did is not known. The server's own errors: RESOURCE_EXHAUSTED if it
  // is out of memory, UNAVAILABLE if it loads, can't save or is a replica,
  // FAILED_PRECONDITION otherwise.
  absl::StatusOr<RedisReply> Call(const std::vector<std::string_view>& command);
  // Sends all, then reads all the answers, which may be kError.
  absl::StatusOr<std::vector<RedisReply>> CallAll(
      const std::vector<std::vector<std::string_view>>& commands);
  bool broken() const { return broken_; }

  // The status of an answer of kind kError, OK of any other.
  static absl::Status StatusOf(const RedisReply& reply);

 private:
  explicit RedisConnection(redisContext* context) : context_(context) {}
  absl::Status Broken();
  redisContext* context_;
  bool broken_ = false;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_REDIS_CONNECTION_H_
