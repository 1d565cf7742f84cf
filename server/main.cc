// chela-server: flags to objects, serve, drain.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/loaded_model.h"
#include "server/model_search.h"
#include "server/rpc/log.h"
#include "server/rpc/signed_state.h"
#include "server/server.h"
#include "server/server_config.h"
#include "server/signal_watcher.h"

namespace chela {
namespace {

// Beyond the drain, for the end of a process with a lost device.
constexpr std::chrono::seconds kAfterFault{10};

enum class StopReason { kSignal, kTerminal, kFault };

// Why the server is to stop; set by the watcher's or a device's thread, and
// waited for by main.
class StopRequest {
 public:
  void Set(StopReason reason) {
    {
      std::lock_guard lock(mutex_);
      if (!reason_.has_value()) reason_ = reason;
      faulted_ = faulted_ || reason == StopReason::kFault;
    }
    set_.notify_all();
  }
  StopReason Wait() {
    std::unique_lock lock(mutex_);
    set_.wait(lock, [this] { return reason_.has_value(); });
    return *reason_;
  }
  // Also if the device failed while the server drained for another reason.
  bool faulted() {
    std::lock_guard lock(mutex_);
    return faulted_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable set_;
  std::optional<StopReason> reason_;
  bool faulted_ = false;
};

int Fail(const absl::Status& status) {
  Log(spdlog::level::err, std::string(status.message()));
  return 1;
}

int Check(const ServerConfig& config, const std::string& directory) {
  const absl::StatusOr<LoadedModel> loaded = LoadModel(config, directory);
  if (!loaded.ok()) return Fail(loaded.status());
  if (!config.state_key_file.empty()) {
    const auto signer = StateSigner::Load(config.state_key_file);
    if (!signer.ok()) return Fail(signer.status());
  }
  std::cout << DescribeModel(*loaded, config);
  return 0;
}

// Ends the process if it has not ended by itself: after a fault another device
// may never come back from a step, and a supervisor waits for the end.
void ExitAfter(std::chrono::milliseconds patience) {
  std::thread([patience] {
    std::this_thread::sleep_for(patience);
    Log(spdlog::level::err, "a device hangs after another failed, exiting");
    _exit(1);
  }).detach();
}

int Serve(const ServerConfig& config, const std::string& directory,
          StopRequest& stop, std::atomic<bool>& loading) {
  const std::string name =
      config.model_name.empty() ? BaseName(directory) : config.model_name;
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Listen(config, name, [&stop, &config](const absl::Status& fault) {
        Log(spdlog::level::err, "device failed",
            {{"error", std::string(fault.message())}});
        ExitAfter(std::max(config.drain_grace, config.drain_timeout) +
                  kAfterFault);
        stop.Set(StopReason::kFault);
      });
  if (!server.ok()) return Fail(server.status());
  Log(spdlog::level::info,
      absl::StrCat("listening on ", (*server)->grpc_address().ToString(),
                   " (gRPC) and ", (*server)->metrics_address().ToString(),
                   " (metrics)"));
  if (const absl::Status status = (*server)->Load(directory); !status.ok()) {
    return Fail(status);
  }
  loading = false;
  Log(spdlog::level::info, "ready", {{"model", name}, {"folder", directory}});

  const StopReason reason = stop.Wait();
  // After a fault, too: who calls meanwhile is told the reason.
  const bool graceful = reason != StopReason::kTerminal;
  Log(spdlog::level::info, "draining",
      {{"grace_ms", graceful ? config.drain_grace.count() : 0},
       {"timeout_ms", config.drain_timeout.count()}});
  (*server)->Drain(graceful ? config.drain_grace : std::chrono::milliseconds(0),
                   config.drain_timeout);
  Log(spdlog::level::info, "stopped");
  return stop.faulted() ? 1 : 0;
}

int Main(const std::vector<std::string>& arguments) {
  const ParsedConfig parsed =
      ParseServerConfig(arguments, [](const std::string& name) {
        return static_cast<const char*>(std::getenv(name.c_str()));
      });
  std::cout << parsed.output << std::flush;
  std::cerr << parsed.error;
  if (!parsed.config.has_value()) return parsed.exit_code;
  const ServerConfig& config = *parsed.config;
  SetUpLogging(config.log_format, config.log_level);
  std::signal(SIGPIPE, SIG_IGN);

  StopRequest stop;
  std::atomic<bool> loading{true};
  const SignalWatcher watcher([&stop, &loading](bool from_terminal) {
    if (loading) {  // Nobody is served yet, so there is nothing to drain.
      Log(spdlog::level::info, "stopped while loading");
      _exit(0);
    }
    stop.Set(from_terminal ? StopReason::kTerminal : StopReason::kSignal);
  });

  absl::StatusOr<std::string> directory = config.model;
  if (config.model.empty()) {
    directory = FindModel(DefaultModelPlaces(
        ExecutableDirectory(), CHELA_SOURCE_DIR "/models/chela-demo"));
  }
  if (!directory.ok()) return Fail(directory.status());
  return config.check ? Check(config, *directory)
                      : Serve(config, *directory, stop, loading);
}

}  // namespace
}  // namespace chela

int main(int argc, char** argv) {
  return chela::Main(std::vector<std::string>(argv + 1, argv + argc));
}
