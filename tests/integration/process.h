#ifndef CHELA_TESTS_INTEGRATION_PROCESS_H_
#define CHELA_TESTS_INTEGRATION_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace chela {

// One of our programs, started with its output in files. Killed if it still
// runs at the end.
class Process {
 public:
  // terminal: with a terminal of its own as standard input, whose Ctrl-C is
  // PressInterrupt. Otherwise `input` is its standard input.
  struct Options {
    std::vector<std::string> environment;  // "NAME=value", added to ours
    std::string input;
    bool terminal = false;
  };
  Process(const std::string& program, const std::vector<std::string>& arguments,
          const Options& options);
  Process(const std::string& program, const std::vector<std::string>& arguments)
      : Process(program, arguments, Options()) {}
  ~Process();
  Process(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number) const;
  void PressInterrupt() const;
  // The exit code; -1 if a signal killed it or it ran longer than a minute.
  int Wait();
  std::string output() const;
  std::string error() const;
  // Waits until stderr holds `text`; false after half a minute or its end.
  bool WaitForError(const std::string& text);
  // The ports of chela-server's "listening on" line.
  std::string GrpcTarget();
  int MetricsPort();

 private:
  bool Ended();

  test_support::TempDir folder_;
  pid_t pid_ = -1;
  int terminal_ = -1;
  int status_ = -1;
  bool ended_ = false;
};

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_PROCESS_H_
