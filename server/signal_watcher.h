#ifndef CHELA_SERVER_SIGNAL_WATCHER_H_
#define CHELA_SERVER_SIGNAL_WATCHER_H_

#include <functional>
#include <thread>

namespace chela {

// The exit code of a process that got a second signal.
inline constexpr int kSecondSignalExit = 3;

// Waits for SIGTERM and SIGINT on a thread of its own. The first one is
// reported; the second one ends the process at once.
class SignalWatcher {
 public:
  // Blocks both signals in the calling thread and those it starts later, so it
  // must be made before any other thread. on_first runs on the watcher's
  // thread; from_terminal: it was Ctrl-C, not a kill.
  explicit SignalWatcher(std::function<void(bool from_terminal)> on_first);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;

 private:
  void Run();

  const std::function<void(bool)> on_first_;
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SIGNAL_WATCHER_H_
