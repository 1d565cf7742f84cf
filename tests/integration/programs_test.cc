// The programs as they are started: flags, exit codes, signals, what is
// printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/integration/process.h"
#include "tests/integration/server_rig.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Arguments = std::vector<std::string>;

constexpr char kServer[] = CHELA_SERVER_PROGRAM;
constexpr char kCli[] = CHELA_CLI_PROGRAM;

Arguments ServerArguments(const std::string& model, const Arguments& more) {
  Arguments all = {"--model",         model, "--listen",         "127.0.0.1:0",
                   "--device",        "cpu", "--metrics-listen", "127.0.0.1:0",
                   "--max-sequences", "8"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

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

TEST_F(ProgramsTest, GeneratesTheSameTextAsJsonAndAsText) {
  StartServer();
  const Arguments sampling = {"--max-tokens", "12", "--seed",      "3",
                              "--top-k",      "40", "--ignore-eos"};
  Arguments json = {"--json", "generate", "--prompt", "hi"};
  json.insert(json.end(), sampling.begin(), sampling.end());
  const auto object =
      nlohmann::json::parse(Cli(json)->output(), nullptr, false);
  ASSERT_TRUE(object.is_object());
  EXPECT_EQ(object["tokens"].size(), 12u);
  EXPECT_EQ(object["finish_reason"], "length");
  EXPECT_EQ(object["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(object["usage"]["generated_tokens"], 12);
  for (const char* key :
       {"queue_seconds", "prefill_seconds", "time_to_first_token_seconds",
        "decode_seconds", "tokens_per_second"}) {
    EXPECT_TRUE(object["timing"][key].is_number()) << key;
  }

  Arguments text = {"generate"};
  text.insert(text.end(), sampling.begin(), sampling.end());
  const auto plain = Cli(text, "hi");
  EXPECT_EQ(exit_code_, 0);
  EXPECT_EQ(plain->output(), object["text"].get<std::string>());
  EXPECT_THAT(plain->error(),
              AllOf(HasSubstr("12 generated"), HasSubstr("tokens/s"),
                    HasSubstr("finish: length")));
}

TEST_F(ProgramsTest, SpellsOutEachWrongField) {
  StartServer();
  const auto cli =
      Cli({"generate", "--prompt", "x", "--top-p", "2", "--max-tokens=0"});

  EXPECT_EQ(exit_code_, 1);
  EXPECT_EQ(cli->output(), "");
  EXPECT_THAT(cli->error(),
              AllOf(HasSubstr("INVALID_ARGUMENT"),
                    HasSubstr("  request.sampling.top_p: 2; want"),
                    HasSubstr("  request.sampling.max_tokens: 0; want")));
}

TEST_F(ProgramsTest, ScoresDocumentsOfAFile) {
  StartServer();
  const test_support::TempDir folder;
  const std::string file = folder.Write("t", "one\n\f\ntwo\nlines\n");
  const auto both = nlohmann::json::parse(
      Cli({"score", "--json", "--text-file", file})->output(), nullptr, false);
  ASSERT_TRUE(both.is_object());
  EXPECT_EQ(both["bytes"], 14);
  EXPECT_EQ(both["tokens"], 14);
  double nll = 0;
  for (const char* document : {"one\n", "two\nlines\n"}) {
    const auto one = nlohmann::json::parse(
        Cli({"score", "--json"}, document)->output(), nullptr, false);
    nll += one["nll_nats"].get<double>();
  }
  // The same sums, printed with 17 digits.
  EXPECT_DOUBLE_EQ(both["nll_nats"].get<double>(), nll);
  EXPECT_DOUBLE_EQ(both["bits_per_byte"].get<double>(),
                   nll / std::log(2.0) / 14);
  EXPECT_DOUBLE_EQ(both["perplexity"].get<double>(), std::exp(nll / 14));
}

TEST_F(ProgramsTest, TokenisesAndDescribesAndChecksHealth) {
  StartServer({"--model-name", "named"});
  EXPECT_THAT(Cli({"tokenize", "--json", "ab"})->output(),
              HasSubstr("\"tokens\":[256,97,98]"));
  const auto info =
      nlohmann::json::parse(Cli({"info", "--json"})->output(), nullptr, false);
  EXPECT_EQ(info["model"], "named");
  EXPECT_EQ(info["state_slots"], 8);
  EXPECT_TRUE(info["config"].is_object());
  EXPECT_EQ(Cli({"health"})->output(), "SERVING\n");
  EXPECT_EQ(exit_code_, 0);
}

TEST_F(ProgramsTest, SaysUnavailableWithoutAServer) {
  Process cli(kCli, {"health", "--target", "127.0.0.1:1"});
  EXPECT_EQ(cli.Wait(), 1);
  EXPECT_THAT(cli.error(), HasSubstr("UNAVAILABLE"));
}

TEST_F(ProgramsTest, ExitsTwoForWrongUsageOfTheClient) {
  for (const Arguments& arguments :
       {Arguments{}, Arguments{"frobnicate"}, Arguments{"generate", "--nope"},
        Arguments{"health", "--timeout", "soon"}}) {
    Process cli(kCli, arguments);
    EXPECT_EQ(cli.Wait(), 2);
  }
}

TEST_F(ProgramsTest, EndsAtTheTimeoutAndOnInterrupt) {
  StartServer();
  const Arguments endless = {"generate",     "--prompt", "x",
                             "--max-tokens", "65536",    "--ignore-eos",
                             "--target",     target_};
  Arguments timed = endless;
  timed.insert(timed.end(), {"--timeout", "200ms"});
  Process timeout(kCli, timed);
  EXPECT_EQ(timeout.Wait(), 1);
  EXPECT_THAT(timeout.error(), HasSubstr("DEADLINE_EXCEEDED"));

  Process interrupted(kCli, endless);
  ASSERT_TRUE(Eventually([&] { return !interrupted.output().empty(); }));
  interrupted.Signal(SIGINT);
  EXPECT_EQ(interrupted.Wait(), 1);
  EXPECT_THAT(interrupted.error(), HasSubstr("CANCELLED"));
}

TEST_F(ProgramsTest, EndsQuietlyWhenItsPipeIsClosed) {
  StartServer();
  Process pipe("/bin/sh", {"-c", std::string(kCli) +
                                     " generate --prompt x --max-tokens 65536 "
                                     "--ignore-eos --target " +
                                     target_ + " | head -c 1 | wc -c"});
  EXPECT_EQ(pipe.Wait(), 0);
  EXPECT_THAT(pipe.output(), HasSubstr("1"));
  EXPECT_EQ(pipe.error(), "");
}

}  // namespace
}  // namespace chela
