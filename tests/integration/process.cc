#include "tests/integration/process.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

namespace chela {
namespace {

using Clock = std::chrono::steady_clock;

std::string ReadAll(const std::string& path) {
  std::ifstream stream(path);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

[[noreturn]] void Become(const std::string& program,
                         const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment) {
  for (const std::string& one : environment) {
    putenv(const_cast<char*>(one.c_str()));
  }
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& one : arguments) {
    argv.push_back(const_cast<char*>(one.c_str()));
  }
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  _exit(127);
}

}  // namespace

Process::Process(const std::string& program,
                 const std::vector<std::string>& arguments,
                 const Options& options) {
  const std::string input = folder_.Write("in", options.input);
  const std::string output = folder_.Write("out", "");
  const std::string error = folder_.Write("err", "");
  int slave = -1;
  if (options.terminal) openpty(&terminal_, &slave, nullptr, nullptr, nullptr);
  pid_ = fork();
  if (pid_ != 0) {
    if (slave >= 0) close(slave);
    return;
  }
  if (options.terminal) {
    setsid();
    ioctl(slave, TIOCSCTTY, 0);
    dup2(slave, STDIN_FILENO);
  } else {
    dup2(open(input.c_str(), O_RDONLY), STDIN_FILENO);
  }
  dup2(open(output.c_str(), O_WRONLY), STDOUT_FILENO);
  dup2(open(error.c_str(), O_WRONLY | O_APPEND), STDERR_FILENO);
  Become(program, arguments, options.environment);
}

Process::~Process() {
  if (!Ended()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  if (terminal_ >= 0) close(terminal_);
}

void Process::Signal(int number) const { kill(pid_, number); }

void Process::PressInterrupt() const {
  const char interrupt = 3;
  (void)!write(terminal_, &interrupt, 1);
}

bool Process::Ended() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

int Process::Wait() {
  const auto until = Clock::now() + std::chrono::minutes(1);
  while (!Ended()) {
    if (Clock::now() > until) return -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
}

std::string Process::output() const { return ReadAll(folder_.path() + "/out"); }
std::string Process::error() const { return ReadAll(folder_.path() + "/err"); }

bool Process::WaitForError(const std::string& text) {
  const auto until = Clock::now() + std::chrono::seconds(30);
  while (error().find(text) == std::string::npos) {
    if (Clock::now() > until) return false;
    if (Ended()) return error().find(text) != std::string::npos;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string Process::GrpcTarget() {
  if (!WaitForError("(metrics)")) return "";
  std::smatch match;
  const std::string text = error();
  std::regex_search(text, match, std::regex("listening on (\\S+) \\(gRPC\\)"));
  return match[1];
}

int Process::MetricsPort() {
  if (!WaitForError("(metrics)")) return 0;
  std::smatch match;
  const std::string text = error();
  std::regex_search(text, match, std::regex("and \\S+:(\\d+) \\(metrics\\)"));
  return std::stoi(match[1]);
}

}  // namespace chela
