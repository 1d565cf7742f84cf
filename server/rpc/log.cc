#include "server/rpc/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <ctime>
#include <memory>
#include <string_view>
#include <utility>

namespace chela {
namespace {

using nlohmann::ordered_json;

// Between the message and its fields (a JSON object) in spdlog's payload;
// messages of other authors simply have no fields.
constexpr char kSeparator = '\x1f';

std::string Dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// UTC with milliseconds, "2026-01-31T12:00:00.000Z".
std::string Timestamp(spdlog::log_clock::time_point time) {
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(
                          time.time_since_epoch())
                          .count();
  const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length =
      std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::string out(text, length);
  const std::string fraction = std::to_string(1000 + millis % 1000);
  return out + "." + fraction.substr(1) + "Z";
}

// A value as text: bare where that is unambiguous, else as a JSON string.
std::string TextValue(const ordered_json& value) {
  if (!value.is_string()) return Dump(value);
  const std::string text = value.get<std::string>();
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == '\x7f') {
      return Dump(value);
    }
  }
  return text.empty() ? "\"\"" : text;
}

std::string OneLine(std::string_view message) {
  std::string out;
  for (const char c : message) {
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      out += c;
    }
  }
  return out;
}

class EventFormatter : public spdlog::formatter {
 public:
  explicit EventFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& event,
              spdlog::memory_buf_t& out) override {
    const std::string_view payload(event.payload.data(), event.payload.size());
    const size_t at = payload.find(kSeparator);
    const std::string_view message = payload.substr(0, at);
    ordered_json fields = ordered_json::object();
    if (at != std::string_view::npos) {
      fields = ordered_json::parse(payload.substr(at + 1), nullptr, false);
    }
    const auto level_view = spdlog::level::to_string_view(event.level);
    const std::string level(level_view.data(), level_view.size());
    std::string line;
    if (format_ == LogFormat::kJson) {
      ordered_json object = {{"time", Timestamp(event.time)},
                             {"level", level},
                             {"message", std::string(message)}};
      for (const auto& [key, value] : fields.items()) object[key] = value;
      line = Dump(object);
    } else {
      line = Timestamp(event.time) + " " + level + " " + OneLine(message);
      for (const auto& [key, value] : fields.items()) {
        line += " " + key + "=" + TextValue(value);
      }
    }
    line += '\n';
    out.append(line.data(), line.data() + line.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<EventFormatter>(format_);
  }

 private:
  LogFormat format_;
};

void LogFromGrpc(gpr_log_func_args* event) {
  const auto level = event->severity == GPR_LOG_SEVERITY_ERROR
                         ? spdlog::level::warn
                         : spdlog::level::debug;
  Log(level, std::string("grpc: ") + event->message);
}

// What it says about a client's bytes is for debugging; the call's own line
// tells the operator.
void LogFromProtobuf(google::protobuf::LogLevel, const char*, int,
                     const std::string& message) {
  Log(spdlog::level::debug, "protobuf: " + message);
}

}  // namespace

void SetUpLogging(LogFormat format, spdlog::level::level_enum level) {
  auto logger = std::make_shared<spdlog::logger>(
      "chela", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::make_unique<EventFormatter>(format));
  logger->set_level(level);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

void Log(spdlog::level::level_enum level, const std::string& message,
         const ordered_json& fields) {
  if (!spdlog::should_log(level)) return;
  std::string payload = message;
  if (fields.is_object() && !fields.empty()) {
    payload += kSeparator;
    payload += Dump(fields);
  }
  spdlog::log(level, std::string_view(payload));
}

}  // namespace chela
