#ifndef CHELA_SERVER_SERVER_CONFIG_H_
#define CHELA_SERVER_SERVER_CONFIG_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/rpc/address.h"
#include "server/rpc/log.h"

namespace chela {

enum class DeviceChoice { kAuto, kCpu, kCuda };

// What the operator chose. Defaults are those of the flags.
struct ServerConfig {
  std::string model;       // a folder; empty: the default places
  std::string model_name;  // empty: the folder's base name
  Address listen{"127.0.0.1", 50051};
  Address metrics_listen{"127.0.0.1", 9464};
  bool insecure = false;  // may listen beyond loopback

  DeviceChoice device = DeviceChoice::kAuto;
  std::vector<int32_t> device_numbers{0};  // for kCuda; distinct
  bool int8_weights = false;               // else the checkpoint's type
  int32_t attention_replay = 0;            // R; 0: off
  int32_t threads = 0;                     // 0: every core of this process
  int32_t max_sequences = 0;  // on each device; 0: as many states as fit

  int32_t max_batch_tokens = 512;
  int32_t max_waiting = 1024;
  int32_t max_message_bytes = 16 << 20;
  int64_t max_prompt_tokens = 1048576;
  int32_t max_output_tokens = 65536;
  int32_t rpc_workers = 2;
  int64_t prefix_cache_bytes = -1;  // 0: off; -1: DefaultPrefixCacheBytes
  std::string prefix_cache_dir;     // empty: nothing of it is on a disk
  int64_t prefix_cache_disk_bytes = int64_t{8} << 30;
  int64_t prefix_cache_pinned_bytes = -1;  // -1: half of prefix_cache_bytes

  std::string session_store = "memory";  // or a folder, or redis://HOST:PORT
  int64_t session_memory_bytes = int64_t{1} << 30;
  // Absent: an hour in memory, a day in a store. 0: never.
  std::optional<std::chrono::milliseconds> session_ttl;
  int64_t max_sessions_per_user = 0;       // 0: no limit
  int64_t max_session_bytes_per_user = 0;  // 0: no limit
  std::string state_key_file;              // empty: states are not returned

  std::chrono::milliseconds drain_grace{1000};
  std::chrono::milliseconds drain_timeout{60000};

  LogFormat log_format = LogFormat::kText;
  spdlog::level::level_enum log_level = spdlog::level::info;
  bool log_content = false;

  bool poison_free_states = false;  // StatePool::Create
  bool check = false;
};

// What became of a command line: a config to run with, or a text to print and
// a code to exit with.
struct ParsedConfig {
  std::optional<ServerConfig> config;
  int exit_code = 0;   // 0 help or version, 2 usage, 1 file or variable
  std::string output;  // for stdout
  std::string error;   // for stderr
};

// From flags, CHELA_* variables and the --config file: a flag beats a variable
// beats the file. `variable` looks one up (null: not set). Keys of the file are
// flags without dashes in front; unknown ones are refused. Errors name the
// flag, where it came from, what was found and what was wanted.
ParsedConfig ParseServerConfig(
    const std::vector<std::string>& arguments,
    const std::function<const char*(const std::string&)>& variable);

// "500ms", "30s", "5m", "24h"; a whole number and a unit, at most 365 days.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(
    const std::string& text);

}  // namespace chela

#endif  // CHELA_SERVER_SERVER_CONFIG_H_
