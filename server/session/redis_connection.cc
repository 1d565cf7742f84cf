#include "server/session/redis_connection.h"

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include <cerrno>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

timeval ToTimeval(std::chrono::milliseconds time) {
  timeval value{};
  value.tv_sec = static_cast<time_t>(time.count() / 1000);
  value.tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000);
  return value;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

absl::StatusOr<std::string> Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError(
          "redis: a % in user or password without two hexadecimal digits");
    }
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

bool Take(std::string_view& text, std::string_view start) {
  if (text.substr(0, start.size()) != start) return false;
  text.remove_prefix(start.size());
  return true;
}

bool ParseNumber(std::string_view text, int max, int& number) {
  return absl::SimpleAtoi(absl::string_view(text.data(), text.size()),
                          &number) &&
         number >= 0 && number <= max;
}

// "[user]:password@" at the start of `rest`, if there is one.
absl::Status TakeCredentials(std::string_view& rest, RedisAddress& address) {
  const size_t at = rest.substr(0, rest.find('/')).rfind('@');
  if (at == std::string_view::npos) return absl::OkStatus();
  const std::string_view credentials = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  const size_t colon = credentials.find(':');
  if (colon == std::string_view::npos) {
    return absl::InvalidArgumentError("redis: a user without a password");
  }
  absl::StatusOr<std::string> user = Unescaped(credentials.substr(0, colon));
  if (!user.ok()) return user.status();
  absl::StatusOr<std::string> password =
      Unescaped(credentials.substr(colon + 1));
  if (!password.ok()) return password.status();
  address.user = *std::move(user);
  address.password = *std::move(password);
  return absl::OkStatus();
}

RedisReply Copied(const redisReply& reply) {
  RedisReply copy;
  switch (reply.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      copy.kind = reply.type == REDIS_REPLY_ERROR ? RedisReply::Kind::kError
                                                  : RedisReply::Kind::kText;
      copy.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_INTEGER:
      copy.kind = RedisReply::Kind::kInteger;
      copy.integer = reply.integer;
      break;
    case REDIS_REPLY_ARRAY:
      copy.kind = RedisReply::Kind::kArray;
      for (size_t i = 0; i < reply.elements; ++i) {
        copy.items.push_back(Copied(*reply.element[i]));
      }
      break;
    default:
      break;
  }
  return copy;
}

absl::Status Greet(RedisConnection& connection, const RedisAddress& address) {
  if (!address.password.empty()) {
    std::vector<std::string_view> auth = {"AUTH"};
    if (!address.user.empty()) auth.push_back(address.user);
    auth.push_back(address.password);
    CHELA_RETURN_IF_ERROR(connection.Call(auth).status());
  }
  if (address.database != 0) {
    const std::string number = absl::StrCat(address.database);
    CHELA_RETURN_IF_ERROR(connection.Call({"SELECT", number}).status());
  }
  return connection.Call({"PING"}).status();
}

}  // namespace

absl::StatusOr<RedisAddress> RedisAddress::Parse(std::string_view url) {
  RedisAddress address;
  std::string_view rest = url;
  const bool unix_socket = Take(rest, "unix://");
  if (!unix_socket && !Take(rest, "redis://")) {
    return absl::InvalidArgumentError(
        "redis: want redis://host:port/database or unix:///path");
  }
  CHELA_RETURN_IF_ERROR(TakeCredentials(rest, address));
  if (unix_socket) {
    address.socket = std::string(rest);
    if (!rest.empty() && rest[0] == '/') return address;
    return absl::InvalidArgumentError(
        "redis: unix:// wants the absolute path of a socket");
  }
  const size_t slash = rest.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view database = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    if (!database.empty() &&
        !ParseNumber(database, 1 << 20, address.database)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "redis: \"", std::string(database), "\" is no number of a database"));
    }
  }
  const size_t colon = rest.rfind(':');
  // The colons of [::1] are none of a port's.
  if (colon != std::string_view::npos && rest.find(']', colon) == rest.npos) {
    if (!ParseNumber(rest.substr(colon + 1), 65535, address.port) ||
        address.port == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "redis: \"", std::string(rest.substr(colon + 1)), "\" is no port"));
    }
    rest = rest.substr(0, colon);
  }
  if (rest.size() > 2 && rest.front() == '[' && rest.back() == ']') {
    rest = rest.substr(1, rest.size() - 2);
  }
  address.host = std::string(rest);
  if (!address.host.empty()) return address;
  return absl::InvalidArgumentError("redis: no host");
}

std::string RedisAddress::Name() const {
  if (!socket.empty()) return absl::StrCat("redis ", socket);
  return absl::StrCat("redis ", host, ":", port, "/", database);
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisConnection::Open(
    const RedisAddress& address, std::chrono::milliseconds timeout) {
  const timeval time = ToTimeval(timeout);
  redisContext* const context =
      address.socket.empty()
          ? redisConnectWithTimeout(address.host.c_str(), address.port, time)
          : redisConnectUnixWithTimeout(address.socket.c_str(), time);
  if (context == nullptr) {
    return absl::ResourceExhaustedError("redis: no memory to connect");
  }
  std::unique_ptr<RedisConnection> connection(new RedisConnection(context));
  if (context->err != 0) {
    return absl::UnavailableError(
        absl::StrCat(address.Name(), ": ", context->errstr));
  }
  redisSetTimeout(context, time);
  redisEnableKeepAlive(context);  // Does nothing for a socket of this machine.
  context->err = 0;
  const absl::Status greeted = Greet(*connection, address);
  if (greeted.ok()) return connection;
  return absl::Status(greeted.code(),
                      absl::StrCat(address.Name(), ": ", greeted.message()));
}

RedisConnection::~RedisConnection() { redisFree(context_); }

absl::Status RedisConnection::Broken() {
  const bool late = context_->err == REDIS_ERR_IO && errno == EAGAIN;
  broken_ = true;
  return absl::UnavailableError(
      absl::StrCat("redis: ", late                 ? "no answer in time"
                              : context_->err != 0 ? context_->errstr
                                                   : "no answer"));
}

absl::StatusOr<std::vector<RedisReply>> RedisConnection::CallAll(
    const std::vector<std::vector<std::string_view>>& commands) {
  for (const std::vector<std::string_view>& command : commands) {
    std::vector<const char*> words;
    std::vector<size_t> sizes;
    for (const std::string_view word : command) {
      words.push_back(word.data() == nullptr ? "" : word.data());
      sizes.push_back(word.size());
    }
    if (redisAppendCommandArgv(context_, static_cast<int>(words.size()),
                               words.data(), sizes.data()) != REDIS_OK) {
      return Broken();
    }
  }
  std::vector<RedisReply> replies;
  for (size_t i = 0; i < commands.size(); ++i) {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK || reply == nullptr) {
      return Broken();
    }
    replies.push_back(Copied(*static_cast<redisReply*>(reply)));
    freeReplyObject(reply);
  }
  return replies;
}

absl::StatusOr<RedisReply> RedisConnection::Call(
    const std::vector<std::string_view>& command) {
  absl::StatusOr<std::vector<RedisReply>> replies = CallAll({command});
  if (!replies.ok()) return replies.status();
  CHELA_RETURN_IF_ERROR(StatusOf(replies->front()));
  return std::move(replies->front());
}

absl::Status RedisConnection::StatusOf(const RedisReply& reply) {
  if (reply.kind != RedisReply::Kind::kError) return absl::OkStatus();
  const std::string message = absl::StrCat("redis: ", reply.text);
  const std::string_view word =
      std::string_view(reply.text).substr(0, reply.text.find(' '));
  if (word == "OOM") return absl::ResourceExhaustedError(message);
  for (const std::string_view passing :
       {"LOADING", "MISCONF", "READONLY", "BUSY", "MASTERDOWN", "NOREPLICAS",
        "TRYAGAIN", "CLUSTERDOWN"}) {
    if (word == passing) return absl::UnavailableError(message);
  }
  return absl::FailedPreconditionError(message);
}

}  // namespace chela
