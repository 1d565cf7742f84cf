// chela-cli as it is started: what it prints, where, and its exit codes.
#include <gmock/gmock.h>
#include <signal.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/integration/programs_rig.h"
#include "tests/integration/server_rig.h"
#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using CliTest = ProgramsTest;

TEST_F(CliTest, GeneratesTheSameTextAsJsonAndAsText) {
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

TEST_F(CliTest, SpellsOutEachWrongField) {
  StartServer();
  const auto cli =
      Cli({"generate", "--prompt", "x", "--top-p", "2", "--max-tokens=0"});

  EXPECT_EQ(exit_code_, 1);
  EXPECT_EQ(cli->output(), "");
  EXPECT_THAT(cli->error(),
              AllOf(HasSubstr("INVALID_ARGUMENT"),
                    HasSubstr("  request.sampling.top_p: 2; want"),
                    HasSubstr("  request.sampling.max_tokens: 0; want")));
  // One alone is in the line of the status already.
  EXPECT_EQ(Cli({"generate", "--prompt", "x", "--max-tokens=0"})->error(),
            "chela-cli: INVALID_ARGUMENT: request.sampling.max_tokens: 0; want "
            "1 .. 65536\n");
}

TEST_F(CliTest, SaysWhereTextIsNoUtf8) {
  for (const char* command : {"generate", "tokenize"}) {
    Process cli(kCli, {command, "ab\xff", "--target", "127.0.0.1:1"});
    EXPECT_EQ(cli.Wait(), 1);
    EXPECT_THAT(cli.error(), AllOf(HasSubstr("INVALID_ARGUMENT: "),
                                   HasSubstr("no UTF-8 from byte 2 on")));
  }
}

TEST_F(CliTest, ScoresAnEmptyTextAsZero) {
  StartServer();
  EXPECT_EQ(Cli({"score", "--json"})->output(),
            "{\"bytes\":0,\"tokens\":0,\"nll_nats\":0.0,"
            "\"bits_per_byte\":0.0,\"perplexity\":1.0}\n");
}

TEST_F(CliTest, ScoresDocumentsOfAFile) {
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

TEST_F(CliTest, TokenisesAndDescribesAndChecksHealth) {
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

TEST_F(CliTest, SaysUnavailableWithoutAServer) {
  Process cli(kCli, {"health", "--target", "127.0.0.1:1"});
  EXPECT_EQ(cli.Wait(), 1);
  EXPECT_THAT(cli.error(), HasSubstr("UNAVAILABLE"));
}

TEST_F(CliTest, ExitsTwoForWrongUsageOfTheClient) {
  for (const Arguments& arguments :
       {Arguments{}, Arguments{"frobnicate"}, Arguments{"generate", "--nope"},
        Arguments{"health", "--timeout", "soon"}}) {
    Process cli(kCli, arguments);
    EXPECT_EQ(cli.Wait(), 2);
  }
}

TEST_F(CliTest, EndsAtTheTimeoutAndOnInterrupt) {
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
  EXPECT_EQ(interrupted.error(), "chela-cli: CANCELLED\n");
}

TEST_F(CliTest, EndsQuietlyWhenItsPipeIsClosed) {
  StartServer();
  Process pipe("/bin/sh", {"-c", std::string(kCli) +
                                     " generate --prompt x --max-tokens 65536 "
                                     "--ignore-eos --target " +
                                     target_ + " | head -c 1 | wc -c"});
  EXPECT_EQ(pipe.Wait(), 0);
  EXPECT_THAT(pipe.output(), HasSubstr("1"));
  EXPECT_EQ(pipe.error(), "");
}

TEST_F(CliTest, ServesACheckpointWithATokenizerJson) {
  ModelConfig config = test_support::TinyConfig();
  config.bytes_tokenizer = false;
  config.vocab_size = 2048;
  const std::string file = test_support::TokenizerData("llama3.json");
  config.bos_token_id =
      nlohmann::json::parse(file)["added_tokens"][0]["id"].get<int32_t>();
  const test_support::TinyModel model(config);
  model.folder().Write("tokenizer.json", file);
  server_ = std::make_unique<Process>(kServer,
                                      ServerArguments(model.directory(), {}));
  ASSERT_TRUE(server_->WaitForError("ready")) << server_->error();
  target_ = server_->GrpcTarget();

  const auto object = [this](const Arguments& arguments) {
    return nlohmann::json::parse(Cli(arguments)->output(), nullptr, false);
  };
  EXPECT_EQ(object({"info", "--json"})["tokenizer"], "byte_level_bpe");
  const auto text = object({"tokenize", "--json", "--text", "Hello<|eot_id|>"});
  EXPECT_EQ(text["pieces"][1], "Hello");
  EXPECT_EQ(text["pieces"][2], "<|eot_id|>");
  const auto answer = object({"generate", "--json", "--prompt", "Hello world",
                              "--max-tokens", "8", "--ignore-eos"});
  EXPECT_EQ(answer["tokens"].size(), 8u);
  server_.reset();

  model.folder().Write("tokenizer.json", file.substr(0, file.size() / 2));
  Process broken(kServer, ServerArguments(model.directory(), {}));
  EXPECT_EQ(broken.Wait(), 1);
  EXPECT_THAT(broken.error(), HasSubstr("tokenizer.json: not JSON"));
}

}  // namespace
}  // namespace chela
