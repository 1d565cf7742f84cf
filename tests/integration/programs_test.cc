// chela-server as it is started: flags, exit codes, signals, logs.
#include <gmock/gmock.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/integration/programs_rig.h"

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(ProgramsTest, ChecksAModelAndPrintsWhatItWouldUse) {
  Process check(kServer, ServerArguments(model_.directory(), {"--check"}));

  EXPECT_EQ(check.Wait(), 0) << check.error();
  EXPECT_THAT(check.output(),
              AllOf(HasSubstr("parameters: "), HasSubstr("bytes a state: "),
                    HasSubstr("states that fit: "), HasSubstr("kernels: "),
                    HasSubstr("chunk: 256")));
}

TEST_F(ProgramsTest, ExitsOneForAModelThatCannotBeLoaded) {
  Process missing(kServer, ServerArguments("/nonexistent/model", {}));
  EXPECT_EQ(missing.Wait(), 1);
  EXPECT_THAT(missing.error(), HasSubstr("/nonexistent/model"));

  model_.folder().Write("model.safetensors", "no tensors");
  Process broken(kServer, ServerArguments(model_.directory(), {}));
  EXPECT_EQ(broken.Wait(), 1);
  EXPECT_THAT(broken.error(), HasSubstr("model.safetensors"));
}

TEST_F(ProgramsTest, ExitsTwoForABadFlagAndOneForABadVariable) {
  Process flag(kServer, ServerArguments(model_.directory(), {"--threads=x"}));
  EXPECT_EQ(flag.Wait(), 2);
  EXPECT_THAT(flag.error(), HasSubstr("--threads"));

  Process::Options options;
  options.environment = {"CHELA_THREADS=x"};
  Process variable(kServer, ServerArguments(model_.directory(), {}), options);
  EXPECT_EQ(variable.Wait(), 1);
  EXPECT_THAT(variable.error(), HasSubstr("CHELA_THREADS"));
}

TEST_F(ProgramsTest, ExitsOneForAPortInUse) {
  StartServer();
  Process second(kServer,
                 ServerArguments(model_.directory(), {"--drain-grace", "0s"}));
  ASSERT_TRUE(second.WaitForError("ready")) << "any free port is fine";
  Process third(kServer, {"--model", model_.directory(), "--listen", target_,
                          "--metrics-listen", "127.0.0.1:0"});
  EXPECT_EQ(third.Wait(), 1);
  EXPECT_THAT(third.error(), AllOf(HasSubstr(target_), HasSubstr("in use")));
}

TEST_F(ProgramsTest, TakesTheModelFromItsVariable) {
  Process::Options options;
  options.environment = {"CHELA_MODEL=" + model_.directory()};
  Process check(kServer, {"--check", "--device=cpu"}, options);

  EXPECT_EQ(check.Wait(), 0) << check.error();
  EXPECT_THAT(check.output(), HasSubstr(model_.directory()));
}

TEST_F(ProgramsTest, DrainsOnSigtermAndExitsZero) {
  StartServer({"--drain-grace", "100ms"});
  server_->Signal(SIGTERM);

  EXPECT_EQ(server_->Wait(), 0) << server_->error();
  EXPECT_THAT(server_->error(),
              AllOf(HasSubstr("draining grace_ms=100"), HasSubstr("stopped")));
}

TEST_F(ProgramsTest, ExitsThreeAtOnceOnTheSecondSignal) {
  StartServer({"--drain-grace", "1m"});
  server_->Signal(SIGTERM);
  ASSERT_TRUE(server_->WaitForError("draining"));
  server_->Signal(SIGINT);

  EXPECT_EQ(server_->Wait(), 3);
}

TEST_F(ProgramsTest, HasNoGraceAfterCtrlCOnATerminal) {
  Process::Options options;
  options.terminal = true;
  StartServer({"--drain-grace", "10m"}, options);
  server_->PressInterrupt();

  EXPECT_EQ(server_->Wait(), 0) << server_->error();
  EXPECT_THAT(server_->error(), HasSubstr("grace_ms=0"));
}

TEST_F(ProgramsTest, LogsOneJsonObjectALineWithoutContent) {
  StartServer({"--log-format", "json", "--drain-grace", "0s"});
  Cli({"generate", "--prompt", "secret words", "--max-tokens", "3"});
  EXPECT_EQ(exit_code_, 0);
  server_->Signal(SIGTERM);
  ASSERT_EQ(server_->Wait(), 0);

  std::istringstream lines(server_->error());
  std::string line;
  bool finished = false;
  while (std::getline(lines, line)) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    if (object["message"] != "request finished") continue;
    finished = true;
    EXPECT_EQ(object["rpc"], "generate_stream");
    EXPECT_EQ(object["code"], "OK");
    EXPECT_EQ(object["generated_tokens"], 3);
    EXPECT_EQ(object["request_id"].get<std::string>().size(), 32u);
  }
  EXPECT_TRUE(finished);
  EXPECT_THAT(server_->error(), Not(HasSubstr("secret")));
}

TEST_F(ProgramsTest, LogsContentOnlyWhenAsked) {
  StartServer({"--log-content"});
  Cli({"generate", "--prompt", "secret words", "--max-tokens", "3"});

  EXPECT_TRUE(server_->WaitForError("secret words"));
}

}  // namespace
}  // namespace chela
