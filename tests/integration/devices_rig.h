#ifndef CHELA_TESTS_INTEGRATION_DEVICES_RIG_H_
#define CHELA_TESTS_INTEGRATION_DEVICES_RIG_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "tests/integration/programs_rig.h"
#include "tests/integration/server_rig.h"
#include "tests/support/temp_dir.h"

namespace chela {

// A page with "name value" lines for "name{model="..."} value".
inline std::string Unlabelled(const std::string& page) {
  return std::regex_replace(page, std::regex("\\{model=\"[^\",]*\"\\}"), "");
}

// chela-server as its users run it, with a module of fake GPUs
// (modules/faulty_module.cc).
class DevicesTest : public ::testing::Test {
 protected:
  // The program in a folder of its own, beside the module of `from`, if any.
  explicit DevicesTest(const std::string& from = CHELA_FAULTY_MODULE) {
    const std::filesystem::path folder =
        std::filesystem::path(folder_.path()) / "bin";
    std::filesystem::create_directory(folder);
    program_ = folder / "chela-server";
    std::filesystem::copy_file(kServer, program_);
    if (!from.empty())
      std::filesystem::copy_file(from, folder / "libchela_cuda.so");
    fault_file_ = folder_.path() + "/fault";
    environment_ = {"CHELA_FAULTY_FILE=" + fault_file_,
                    "CHELA_FAULTY_STEP_US=2000"};
  }

  std::unique_ptr<Process> Server(const std::string& device,
                                  const Arguments& more = {}) const {
    Arguments all = {"--model",
                     model_.directory(),
                     "--listen",
                     "127.0.0.1:0",
                     "--metrics-listen",
                     "127.0.0.1:0",
                     "--device",
                     device,
                     "--poison-free-states"};
    if (std::find(more.begin(), more.end(), "--drain-grace") == more.end()) {
      all.insert(all.end(), {"--drain-grace", "0s"});
    }
    all.insert(all.end(), more.begin(), more.end());
    Process::Options options;
    options.environment = environment_;
    return std::make_unique<Process>(program_, all, options);
  }
  // A ready server.
  void Start(const std::string& device, const Arguments& more = {}) {
    server_ = Server(device, more);
    ASSERT_TRUE(server_->WaitForError("ready")) << server_->error();
    target_ = server_->GrpcTarget();
  }
  void Restart(const std::string& device, const Arguments& more) {
    std::filesystem::remove(fault_file_);
    Start(device, more);
  }
  // An end, with the code 1 and one line that holds all of `texts`.
  void ExpectRefusal(Process& server, const std::vector<std::string>& texts) {
    EXPECT_EQ(server.Wait(), 1) << server.error();
    for (const std::string& text : texts) {
      EXPECT_THAT(server.error(), ::testing::HasSubstr(text));
    }
    EXPECT_THAT(server.error(), ::testing::Not(::testing::HasSubstr("ready")));
  }
  std::unique_ptr<Process> Cli(Arguments arguments) const {
    arguments.insert(arguments.end(), {"--target", target_});
    return std::make_unique<Process>(kCli, arguments);
  }
  // A stream that is under way and would go on for minutes.
  Process& Endless(const Arguments& more = {}) {
    Arguments all = {"generate",     "--prompt", "x",
                     "--max-tokens", "60000",    "--ignore-eos"};
    all.insert(all.end(), more.begin(), more.end());
    clients_.push_back(Cli(all));
    return *clients_.back();
  }
  void WaitForText(Process& client) {
    EXPECT_TRUE(Eventually([&] { return !client.output().empty(); }));
  }
  std::string Page() { return Http(server_->MetricsPort(), "GET", "/metrics"); }
  void Tell(const std::string& what) {
    std::ofstream(fault_file_ + "~") << what;
    std::filesystem::rename(fault_file_ + "~", fault_file_);
  }

  test_support::TinyModel model_;
  test_support::TempDir folder_;
  std::string program_;
  std::string fault_file_;
  std::vector<std::string> environment_;
  std::unique_ptr<Process> server_;
  std::string target_;
  std::deque<std::unique_ptr<Process>> clients_;
};

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_DEVICES_RIG_H_
