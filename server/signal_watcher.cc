#include "server/signal_watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <utility>

namespace chela {

SignalWatcher::SignalWatcher(std::function<void(bool from_terminal)> on_first)
    : on_first_(std::move(on_first)) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { Run(); });
}

SignalWatcher::~SignalWatcher() {
  const uint64_t one = 1;
  // An eventfd takes eight bytes whole; without it the thread could not stop.
  while (write(stop_fd_, &one, sizeof(one)) < 0) {
  }
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void SignalWatcher::Run() {
  int seen = 0;
  for (;;) {
    pollfd ready[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (poll(ready, 2, -1) < 0) continue;
    if (ready[1].revents != 0) return;
    signalfd_siginfo info = {};
    if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) continue;
    if (++seen > 1) _exit(kSecondSignalExit);
    // The terminal driver's signals come from the kernel, kill's do not.
    on_first_(info.ssi_signo == SIGINT && info.ssi_code == SI_KERNEL);
  }
}

}  // namespace chela
