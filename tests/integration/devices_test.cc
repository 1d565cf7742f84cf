// chela-server with several GPUs, and with GPUs that fail: the real program
// with a module of fake ones (modules/faulty_module.cc).
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "tests/integration/programs_rig.h"
#include "tests/integration/server_rig.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

namespace health = grpc::health::v1;
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kLost[] = "INTERNAL: CUDA could not run a step: device lost";

// A page with "name value" lines for "name{model="..."} value".
std::string Unlabelled(const std::string& page) {
  return std::regex_replace(page, std::regex("\\{model=\"[^\",]*\"\\}"), "");
}

class DevicesTest : public ::testing::Test {
 protected:
  // The program in a folder of its own, beside the module of `from`, if any.
  explicit DevicesTest(const std::string& from = CHELA_FAULTY_MODULE) {
    const fs::path folder = fs::path(folder_.path()) / "bin";
    fs::create_directory(folder);
    program_ = folder / "chela-server";
    fs::copy_file(kServer, program_);
    if (!from.empty()) fs::copy_file(from, folder / "libchela_cuda.so");
    fault_file_ = folder_.path() + "/fault";
    environment_ = {"CHELA_FAULTY_FILE=" + fault_file_,
                    "CHELA_FAULTY_STEP_US=2000"};
  }

  std::unique_ptr<Process> Server(const std::string& device,
                                  const Arguments& more = {}) const {
    Arguments all = {
        "--model",          model_.directory(), "--listen", "127.0.0.1:0",
        "--metrics-listen", "127.0.0.1:0",      "--device", device};
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
    fs::remove(fault_file_);
    Start(device, more);
  }
  // An end, with the code 1 and one line that holds all of `texts`.
  void ExpectRefusal(Process& server, const std::vector<std::string>& texts) {
    EXPECT_EQ(server.Wait(), 1) << server.error();
    for (const std::string& text : texts) {
      EXPECT_THAT(server.error(), HasSubstr(text));
    }
    EXPECT_THAT(server.error(), Not(HasSubstr("ready")));
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
    fs::rename(fault_file_ + "~", fault_file_);
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

class FaultTest : public DevicesTest,
                  public ::testing::WithParamInterface<const char*> {};

TEST_P(FaultTest, ALostDeviceEndsStreamsQueueAndProcess) {
  Start(GetParam(), {"--max-sequences", "2"});
  const auto channel =
      grpc::CreateChannel(target_, grpc::InsecureChannelCredentials());
  const auto stub = health::Health::NewStub(channel);
  grpc::ClientContext context;
  health::HealthCheckRequest request;
  request.set_service("chela.v1.GenerationService");
  const auto watch = stub->Watch(&context, request);
  health::HealthCheckResponse seen;
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), health::HealthCheckResponse::SERVING);
  // More than there are states: some wait.
  for (int i = 0; i < 6; ++i) Endless();
  const std::string slots = std::string(GetParam()) == "cuda" ? "2" : "4";
  const std::string rest = slots == "2" ? "4" : "2";
  EXPECT_TRUE(Eventually([&] {
    const std::string page = Unlabelled(Page());
    return page.find("_running " + slots + "\n") != std::string::npos &&
           page.find("_waiting " + rest + "\n") != std::string::npos;
  }));

  Tell("fail 0");

  for (const auto& client : clients_) {
    EXPECT_EQ(client->Wait(), 1);
    EXPECT_THAT(client->error(),
                AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("the device failed"),
                      HasSubstr("cuda:0"), HasSubstr(kLost)));
  }
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(server_->Wait(), 1);
  const std::string log = server_->error();
  const size_t line = log.find("device failed error=");
  ASSERT_NE(line, std::string::npos) << log;
  EXPECT_EQ(log.find("device failed error=", line + 1), std::string::npos);
  EXPECT_THAT(log.substr(line, log.find('\n', line) - line),
              AllOf(HasSubstr("cuda:0"), HasSubstr(kLost)));
}

TEST_P(FaultTest, RefusesNewRequestsWithTheReasonWhileTheGraceLasts) {
  Start(GetParam(), {"--drain-grace", "3s"});
  Process& running = Endless();
  WaitForText(running);

  Tell("fail 0");

  EXPECT_EQ(running.Wait(), 1);
  const auto late = Cli({"generate", "--prompt", "x"});
  EXPECT_EQ(late->Wait(), 1);
  EXPECT_THAT(late->error(), AllOf(HasSubstr("UNAVAILABLE"), HasSubstr(kLost)));
  EXPECT_THAT(Http(server_->MetricsPort(), "GET", "/readyz"),
              HasSubstr("HTTP/1.1 503"));
  EXPECT_EQ(server_->Wait(), 1);
}

TEST_P(FaultTest, ASessionKeepsTheRevisionBeforeTheTurnThatFailed) {
  const Arguments store = {"--session-store", folder_.path() + "/sessions"};
  Start(GetParam(), store);
  ASSERT_EQ(Cli({"session", "create", "s"})->Wait(), 0);
  const Arguments turn = {"generate", "--session",    "s",  "--prompt",
                          "one",      "--max-tokens", "20", "--temperature",
                          "0",        "--ignore-eos"};
  ASSERT_EQ(Cli(turn)->Wait(), 0);
  Process& second = Endless({"--session", "s"});
  WaitForText(second);

  Tell("fail 0");

  EXPECT_EQ(second.Wait(), 1);
  EXPECT_EQ(server_->Wait(), 1);
  Restart(GetParam(), store);
  const auto list = Cli({"session", "list", "--json"});
  ASSERT_EQ(list->Wait(), 0);
  EXPECT_THAT(list->output(), HasSubstr("\"revision\":1"));
  Arguments next = turn;
  next[4] = "two";
  const auto went_on = Cli(next);
  ASSERT_EQ(went_on->Wait(), 0) << went_on->error();
  // The same two turns without a fault.
  ASSERT_EQ(Cli({"session", "create", "t"})->Wait(), 0);
  Arguments again = turn;
  again[2] = next[2] = "t";
  ASSERT_EQ(Cli(again)->Wait(), 0);
  const auto wanted = Cli(next);
  ASSERT_EQ(wanted->Wait(), 0);
  EXPECT_EQ(went_on->output(), wanted->output());
}

INSTANTIATE_TEST_SUITE_P(OneAndTwo, FaultTest,
                         ::testing::Values("cuda", "cuda:0,1"),
                         [](const auto& test) {
                           return std::string(test.param) == "cuda" ? "One"
                                                                    : "Two";
                         });

TEST_F(DevicesTest, TheOthersStreamsEndWithTheLostDevice) {
  Start("cuda:0,1");
  Process& first = Endless();
  WaitForText(first);
  Process& second = Endless();
  WaitForText(second);
  EXPECT_THAT(Page(),
              AllOf(HasSubstr("device=\"cuda:0\",state=\"active\"} 1\n"),
                    HasSubstr("device=\"cuda:1\",state=\"active\"} 1\n")));

  Tell("fail 1");

  for (Process* client : {&first, &second}) {
    EXPECT_EQ(client->Wait(), 1);
    EXPECT_THAT(client->error(),
                AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("cuda:1")));
  }
  EXPECT_EQ(server_->Wait(), 1);
}

TEST_F(DevicesTest, EndsThoughAnotherDeviceHangsAfterTheFault) {
  Start("cuda:0,1", {"--drain-timeout", "500ms"});
  Process& first = Endless();
  WaitForText(first);
  Process& second = Endless();
  WaitForText(second);

  Tell("hang 0 fail 1");

  EXPECT_EQ(second.Wait(), 1);
  EXPECT_EQ(server_->Wait(), 1);
  EXPECT_THAT(server_->error(), HasSubstr("a device hangs after another"));
}

TEST_F(DevicesTest, ServesFromBothAndSaysSo) {
  Start("cuda:0,1", {"--max-sequences", "3"});
  EXPECT_THAT(
      server_->error(),
      AllOf(HasSubstr("device loaded device=cuda:0 name=\"Faulty GPU\""),
            HasSubstr("device loaded device=cuda:1"),
            HasSubstr("warm_up_seconds=")));
  const auto info = Cli({"info"});
  ASSERT_EQ(info->Wait(), 0);
  EXPECT_THAT(info->output(), AllOf(HasSubstr("cuda:0, cuda:1: Faulty GPU"),
                                    HasSubstr("state_slots: 6\n")));
  const std::string page = Page();
  for (const char* line :
       {"chela_device_memory_bytes{model=\"",
        "device=\"cuda:1\",kind=\"states\"",
        "device=\"cuda:1\",kind=\"weights\"", "device=\"cuda:0,cuda:1\"",
        "chela_device_utilization_ratio{model=\""}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
  Process& first = Endless();
  WaitForText(first);
  Process& second = Endless();
  WaitForText(second);
  EXPECT_THAT(Unlabelled(Page()), AllOf(HasSubstr("state=\"active\"} 2\n"),
                                        HasSubstr("_requests_running 2\n")));
}

TEST_F(DevicesTest, DrainsBothOnSigterm) {
  Start("cuda:0,1");
  const auto finite = [this] {
    return Cli(
        {"generate", "--prompt", "x", "--max-tokens", "400", "--ignore-eos"});
  };
  const auto first = finite();
  WaitForText(*first);
  const auto second = finite();
  WaitForText(*second);
  server_->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0) << first->error();
  EXPECT_EQ(second->Wait(), 0) << second->error();
  EXPECT_EQ(server_->Wait(), 0) << server_->error();
}

TEST_F(DevicesTest, CheckNamesTheDevicesAndWhatFitsOnEach) {
  const auto check = Server("cuda:1,0", {"--check"});
  EXPECT_EQ(check->Wait(), 0) << check->error();
  EXPECT_THAT(check->output(),
              AllOf(HasSubstr("device: cuda:1, cuda:0: Faulty GPU, none"),
                    HasSubstr(" on each device\n"),
                    HasSubstr("states that fit on cuda:0: "),
                    HasSubstr("memory, still free on cuda:1: ")));
}

TEST_F(DevicesTest, AutoTakesTheFirstGpuAlone) {
  Start("auto");
  EXPECT_THAT(server_->error(), AllOf(HasSubstr("device=cuda:0"),
                                      Not(HasSubstr("device=cuda:1"))));
}

TEST_F(DevicesTest, RefusesADeviceThatIsNotThere) {
  for (const char* device : {"cuda:7", "cuda:0,7"}) {
    ExpectRefusal(*Server(device),
                  {"--device: ", "open device 7", "there are 2; want 0 to 1"});
  }
  const auto twice = Server("cuda:0,0");
  EXPECT_EQ(twice->Wait(), 2);
  EXPECT_THAT(twice->error(), HasSubstr("device 0 twice"));
}

TEST_F(DevicesTest, RefusesDevicesOfTwoModels) {
  environment_.push_back("CHELA_FAULTY_ODD=1");
  ExpectRefusal(*Server("cuda:0,1"),
                {"cuda:1 is a Odd GPU", "want a Faulty GPU", "cuda:0"});
}

TEST_F(DevicesTest, SaysWhatWasAskedAndWhatWasFreeWhenMemoryIsShort) {
  environment_.push_back("CHELA_FAULTY_BYTES=8000000");
  ExpectRefusal(*Server("cuda:0,1", {"--max-sequences", "60000"}),
                {"cuda:0: --max-sequences: 60000 states of ", " bytes are free",
                 "want at most "});
  environment_.push_back("CHELA_FAULTY_BYTES=20000");
  ExpectRefusal(*Server("cuda"), {"bytes, ", " free"});
}

TEST_F(DevicesTest, AFaultOfTheWarmUpEndsTheStart) {
  Tell("fail 1");
  ExpectRefusal(*Server("cuda:0,1"), {"cuda:1: ", "device lost"});
}

class NoModuleTest : public DevicesTest {
 protected:
  NoModuleTest() : DevicesTest("") {}
};

TEST_F(NoModuleTest, CudaIsAnErrorAndAutoTheCpu) {
  ExpectRefusal(*Server("cuda"),
                {"--device: ", "libchela_cuda.so not installed: looked in"});
  Start("auto");
  EXPECT_THAT(server_->error(),
              AllOf(HasSubstr("no CUDA device, using the CPU"),
                    HasSubstr("device loaded device=cpu")));
}

class OldModuleTest : public DevicesTest {
 protected:
  OldModuleTest() : DevicesTest(CHELA_OLD_MODULE) {}
};

TEST_F(OldModuleTest, IsAnErrorForAutoToo) {
  for (const char* device : {"cuda", "auto"}) {
    ExpectRefusal(*Server(device), {"module of another ABI: found "});
  }
}

class NoDriverTest : public DevicesTest {
 protected:
  NoDriverTest() : DevicesTest(CHELA_NO_DRIVER_MODULE) {}
};

TEST_F(NoDriverTest, CudaIsAnErrorAndAutoTheCpu) {
  ExpectRefusal(*Server("cuda"), {"no driver on this machine"});
  Start("auto");
  EXPECT_THAT(server_->error(), HasSubstr("no driver on this machine"));
}

}  // namespace
}  // namespace chela
