#ifndef CHELA_SERVER_RPC_LOG_H_
#define CHELA_SERVER_RPC_LOG_H_

#include <spdlog/common.h>

#include <nlohmann/json.hpp>
#include <string>

namespace chela {

enum class LogFormat { kText, kJson };

// Makes spdlog's default logger write one line an event to stderr, as text or
// as JSON objects, from `level` on, and sends gRPC's own messages there too.
// Called once, by main.
void SetUpLogging(LogFormat format, spdlog::level::level_enum level);

// One event with fields: `message key=value ...` or
// {"time", "level", "message", "key": value ...}. Control characters are
// escaped, so that an event stays one line. Thread-safe.
void Log(spdlog::level::level_enum level, const std::string& message,
         const nlohmann::ordered_json& fields = {});

}  // namespace chela

#endif  // CHELA_SERVER_RPC_LOG_H_
