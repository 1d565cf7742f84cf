#include "tests/server/redis_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

extern char** environ;

namespace chela::test_support {

std::unique_ptr<RedisProcess> RedisProcess::Start(
    const std::vector<std::string>& arguments) {
  signal(SIGPIPE, SIG_IGN);  // As the server does.
  std::unique_ptr<RedisProcess> process(new RedisProcess(arguments));
  return process->Run() ? std::move(process) : nullptr;
}

RedisProcess::RedisProcess(std::vector<std::string> arguments)
    : arguments_(std::move(arguments)) {}

RedisProcess::~RedisProcess() { Stop(); }

RedisStoreOptions RedisProcess::options() const {
  RedisStoreOptions options;
  options.address.socket = socket();
  options.patience = std::chrono::milliseconds(500);
  return options;
}

void RedisProcess::StandStill() const {
  kill(pid_, SIGSTOP);
  // It answers until the signal has arrived.
  waitpid(pid_, nullptr, WUNTRACED);
}

void RedisProcess::GoOn() const { kill(pid_, SIGCONT); }

void RedisProcess::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisProcess::Restart() {
  Stop();
  if (!Run()) std::abort();
}

bool RedisProcess::Run() {
  std::vector<std::string> words = {
      "redis-server", "--port",     "0",      "--unixsocket", socket(),
      "--save",       "",           "--dir",  folder_.path(), "--daemonize",
      "no",           "--loglevel", "warning"};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  const int error = posix_spawnp(&pid_, "redis-server", &actions, nullptr,
                                 argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    pid_ = -1;
    return false;
  }
  for (int i = 0; i < 1000; ++i) {
    const auto connection =
        RedisConnection::Open(options().address, std::chrono::seconds(1));
    // A password that a test asked for is not known here: it answers.
    if (connection.ok() || !absl::IsUnavailable(connection.status())) {
      return true;
    }
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      std::fprintf(stderr, "redis-server ended with %d\n", status);
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace chela::test_support
