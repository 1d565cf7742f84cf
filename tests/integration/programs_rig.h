#ifndef CHELA_TESTS_INTEGRATION_PROGRAMS_RIG_H_
#define CHELA_TESTS_INTEGRATION_PROGRAMS_RIG_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/process.h"
#include "tests/support/tiny_model.h"

namespace chela {

using Arguments = std::vector<std::string>;

inline constexpr char kServer[] = CHELA_SERVER_PROGRAM;
inline constexpr char kCli[] = CHELA_CLI_PROGRAM;

inline Arguments ServerArguments(const std::string& model,
                                 const Arguments& more) {
  Arguments all = {"--model",         model, "--listen",         "127.0.0.1:0",
                   "--device",        "cpu", "--metrics-listen", "127.0.0.1:0",
                   "--max-sequences", "8"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// A server process with the tiny model, and clients of it.
class ProgramsTest : public ::testing::Test {
 protected:
  // A ready server.
  void StartServer(const Arguments& more = {},
                   const Process::Options& options = {}) {
    server_ = std::make_unique<Process>(
        kServer, ServerArguments(model_.directory(), more), options);
    ASSERT_TRUE(server_->WaitForError("ready")) << server_->error();
    target_ = server_->GrpcTarget();
  }
  // chela-cli against it, ended.
  std::unique_ptr<Process> Cli(Arguments arguments,
                               const std::string& input = "") {
    arguments.insert(arguments.end(), {"--target", target_});
    Process::Options options;
    options.input = input;
    auto cli = std::make_unique<Process>(kCli, arguments, options);
    exit_code_ = cli->Wait();
    return cli;
  }

  test_support::TinyModel model_;
  std::unique_ptr<Process> server_;
  std::string target_;
  int exit_code_ = -1;
};

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_PROGRAMS_RIG_H_
