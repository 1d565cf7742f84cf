#include "server/server_flags.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/attention_replay.h"
#include "server/device_flag.h"
#include "server/flag_checks.h"

namespace chela {
namespace {

constexpr int64_t kInt32Max = 2147483647;

CLI::Validator Device(ServerConfig* config) {
  return Store(
      [config](const std::string& text) { return ParseDevice(text, config); });
}

class FlagAdder {
 public:
  FlagAdder(CLI::App& app, std::string group)
      : app_(app), group_(std::move(group)) {}

  void Add(const std::string& name, const CLI::Validator& check,
           const std::string& shown, const std::string& help) {
    app_.add_option_function<std::string>(
            "--" + name, [](const std::string&) {}, help)
        ->check(check)
        ->option_text(shown)
        ->group(group_);
  }
  void AddSwitch(const std::string& name, bool* out, const std::string& help) {
    app_.add_flag("--" + name, *out, help)->group(group_);
  }

 private:
  CLI::App& app_;
  const std::string group_;
};

void AddModelFlags(CLI::App& app, ServerConfig& config) {
  FlagAdder flags(app, "Model and device");
  const auto text = [](std::string* out) {
    return Store([out](const std::string& value) {
      if (value.empty()) return absl::InvalidArgumentError("empty; want text");
      *out = value;
      return absl::OkStatus();
    });
  };
  flags.Add("model", text(&config.model), "DIR",
            "Checkpoint folder. Without it: ../share/chela/chela-demo beside "
            "the program, the source tree's models/chela-demo, "
            "./models/chela-demo");
  flags.Add("model-name", text(&config.model_name), "NAME",
            "Name in answers and metrics [the folder's base name]");
  flags.Add("device", Device(&config), "auto|cpu|cuda[:N[,M...]]",
            "What computes; several GPUs each hold the whole model and serve "
            "one queue [auto: GPU 0 if it can be used, else the CPU]");
  flags.Add(
      "weights",
      OneOf<bool>({{"auto", false}, {"int8", true}}, &config.int8_weights),
      "auto|int8",
      "Type of the matrices in memory; int8 is half of bf16 and a little "
      "less exact [auto: the checkpoint's]");
  flags.Add("attention-replay",
            OffOrNumber(kMinReplay, kMaxReplay, &config.attention_replay),
            "off|R",
            "Write attention states every R tokens only, 2 .. 32: fewer bytes, "
            "which a GPU gains by from some 32 sequences on "
            "(docs/performance.md). States of other settings are refused "
            "[off]");
  flags.Add("threads", WholeNumber(0, 1024, &config.threads), "N",
            "Computing threads [0: every core of this process]");
  flags.Add("max-sequences", WholeNumber(0, 65536, &config.max_sequences), "N",
            "States on each device, each one running sequence [0: as many as "
            "fit]");
}

void AddLimitFlags(CLI::App& app, ServerConfig& config) {
  FlagAdder flags(app, "Limits");
  flags.Add("max-batch-tokens",
            WholeNumber(256, 65536, &config.max_batch_tokens), "N",
            "Tokens of one step [512]");
  flags.Add("max-waiting", WholeNumber(1, 1 << 20, &config.max_waiting), "N",
            "Requests that may wait for a state [1024]");
  flags.Add("max-message-bytes",
            WholeNumber(1024, kInt32Max, &config.max_message_bytes), "N",
            "Largest request message [16777216]");
  flags.Add("max-prompt-tokens",
            WholeNumber(1, 1 << 30, &config.max_prompt_tokens), "N",
            "Longest prompt [1048576]");
  flags.Add("max-output-tokens",
            WholeNumber(1, 1 << 24, &config.max_output_tokens), "N",
            "Cap of max_tokens [65536]");
  flags.Add("prefix-cache-bytes",
            AutoOrNumber(int64_t{1} << 46, &config.prefix_cache_bytes),
            "auto|N",
            "Host memory for the states of prompts' beginnings [auto: a "
            "quarter of all states' bytes, at most 1/16 of the free memory; "
            "0: off]");
  flags.Add("prefix-cache-dir", Store([&config](const std::string& value) {
              config.prefix_cache_dir = value;
              return absl::OkStatus();
            }),
            "DIR",
            "Folder for states that the host has no room for, found again "
            "after a restart; of one server at a time [none]");
  flags.Add("prefix-cache-disk-bytes",
            WholeNumber(0, int64_t{1} << 50, &config.prefix_cache_disk_bytes),
            "N", "Most bytes of files there [8589934592]");
  flags.Add(
      "prefix-cache-pinned-bytes",
      AutoOrNumber(int64_t{1} << 46, &config.prefix_cache_pinned_bytes),
      "auto|N",
      "Of --prefix-cache-bytes, what requests may pin (cache_pin_seconds) "
      "[auto: half, which is the most; 0: nothing]");
  flags.Add("rpc-workers", WholeNumber(1, 256, &config.rpc_workers), "N",
            "Threads that tokenise inputs above 16 KiB and wait for the "
            "session store [2]");
}

void AddSessionFlags(CLI::App& app, ServerConfig& config) {
  FlagAdder flags(app, "Sessions");
  flags.Add("session-store", Store([&config](const std::string& value) {
              const bool known = value.find("://") == std::string::npos ||
                                 absl::StartsWith(value, "redis://") ||
                                 absl::StartsWith(value, "unix://");
              if (value.empty() || !known) {
                return absl::InvalidArgumentError(
                    absl::StrCat("\"", value,
                                 "\"; want memory, a folder, "
                                 "redis://HOST:PORT or unix://SOCKET"));
              }
              config.session_store = value;
              return absl::OkStatus();
            }),
            "memory|DIR|redis://HOST:PORT[/N]|unix://SOCKET",
            "Where sessions are kept; those in memory end with the process "
            "[memory]");
  flags.Add("session-memory-bytes",
            WholeNumber(0, int64_t{1} << 50, &config.session_memory_bytes), "N",
            "States in memory: the limit of all sessions, or with a store of "
            "the copies that make the next turn fast [1073741824]");
  flags.Add("session-ttl", Store([&config](const std::string& text) {
              const auto value = ParseDuration(text);
              if (value.ok()) config.session_ttl = *value;
              return value.status();
            }),
            "DURATION",
            "A session without use is removed after it; 0s: never [1h in "
            "memory, 24h in a store]");
  flags.Add("max-sessions-per-user",
            WholeNumber(0, int64_t{1} << 40, &config.max_sessions_per_user),
            "N", "Sessions of one user [0: no limit]");
  flags.Add(
      "max-session-bytes-per-user",
      WholeNumber(0, int64_t{1} << 50, &config.max_session_bytes_per_user), "N",
      "Bytes of all states of one user's sessions; a running turn counts "
      "with the most it may add [0: no limit]");
  flags.Add("state-key-file", Store([&config](const std::string& value) {
              config.state_key_file = value;
              return absl::OkStatus();
            }),
            "FILE",
            "Key, 32 .. 4096 bytes, that signs the states that clients keep "
            "(return_state) [none: not available]");
}

void AddServingFlags(CLI::App& app, ServerConfig& config, std::string& file) {
  FlagAdder listen(app, "Listening");
  listen.Add("listen", ListenAddress(&config.listen), "HOST:PORT",
             "gRPC [127.0.0.1:50051]; port 0: any free one");
  listen.Add("metrics-listen", ListenAddress(&config.metrics_listen),
             "HOST:PORT",
             "HTTP with /metrics, /healthz, /readyz [127.0.0.1:9464]");
  listen.AddSwitch("insecure", &config.insecure,
                   "Listen beyond loopback although anybody can connect");

  FlagAdder drain(app, "Shutdown");
  drain.Add("drain-grace", Duration(&config.drain_grace), "DURATION",
            "After SIGTERM: not ready, but new calls are taken [1s]");
  drain.Add("drain-timeout", Duration(&config.drain_timeout), "DURATION",
            "After SIGTERM: running streams may finish until then [60s]");

  FlagAdder log(app, "Logs");
  log.Add(
      "log-format",
      OneOf<LogFormat>({{"text", LogFormat::kText}, {"json", LogFormat::kJson}},
                       &config.log_format),
      "text|json", "Lines on stderr [text]");
  log.Add("log-level",
          OneOf<spdlog::level::level_enum>({{"debug", spdlog::level::debug},
                                            {"info", spdlog::level::info},
                                            {"warn", spdlog::level::warn},
                                            {"error", spdlog::level::err}},
                                           &config.log_level),
          "debug|info|warn|error", "The least level that is logged [info]");
  log.AddSwitch("log-content", &config.log_content,
                "Log prompts and generated text");

  FlagAdder other(app, "Other");
  other.Add("config", Store([&file](const std::string& value) {
              file = value;
              return absl::OkStatus();
            }),
            "FILE", "TOML or INI file with flags as keys: max-waiting = 64");
  other.AddSwitch("poison-free-states", &config.poison_free_states,
                  "For debugging: fill states that nobody uses with NaN, so "
                  "that whoever reads one shows");
  other.AddSwitch("check", &config.check,
                  "Load the model, print what would be used, and exit");
}

}  // namespace

void AddServerFlags(CLI::App& app, ServerConfig& config, std::string& file) {
  AddModelFlags(app, config);
  AddLimitFlags(app, config);
  AddSessionFlags(app, config);
  AddServingFlags(app, config, file);
}

std::string VariableName(const std::string& flag) {
  std::string name = absl::StrCat("CHELA_", absl::AsciiStrToUpper(flag));
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

}  // namespace chela
