// The flags of `chela-cli generate` and what it prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "chela/v1/generation.pb.h"
#include "server/tools/cli_flags.h"
#include "tests/integration/programs_rig.h"

namespace chela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using CliGenerateTest = ProgramsTest;

nlohmann::json Parsed(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, false);
}

TEST_F(CliGenerateTest, HasEveryFieldAsAFlagInKebabCase) {
  Process cli(kCli, {"generate", "--help"});
  ASSERT_EQ(cli.Wait(), 0);
  std::vector<std::string> fields;
  for (const auto* descriptor :
       {v1::SamplingParams::descriptor(), v1::GenerateRequest::descriptor()}) {
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const std::string& name = descriptor->field(i)->name();
      if (name != "sampling" && name != "prompt_tokens") fields.push_back(name);
    }
  }
  for (std::string& field : fields) {
    std::replace(field.begin(), field.end(), '_', '-');
    EXPECT_THAT(cli.output(), HasSubstr("--" + field));
  }
}

TEST(CliFlagsTest, ReadsATimeoutThatIsNeverRoundedToNone) {
  const auto timeout = [](const std::string& text) -> int64_t {
    CliCommand command;
    CLI::App app;
    AddCliFlags(app, command);
    try {
      app.parse("info --timeout " + text);
    } catch (const CLI::ParseError&) {
      return -1;
    }
    return command.options.timeout.count();
  };
  EXPECT_EQ(timeout("500ms"), 500);
  EXPECT_EQ(timeout("1.5s"), 1500);
  EXPECT_EQ(timeout("5m"), 300000);
  EXPECT_EQ(timeout("0.2ms"), 1);
  EXPECT_EQ(timeout("8760h"), int64_t{365} * 24 * 3600 * 1000);
  EXPECT_EQ(timeout("0s"), 0);
  for (const char* wrong :
       {"5", "soon", "-1s", "inf", "8761h", "1e3s", "5 s"}) {
    EXPECT_EQ(timeout(wrong), -1) << wrong;
  }
}

TEST_F(CliGenerateTest, PutsEachFlagIntoItsField) {
  CliCommand command;
  CLI::App app;
  AddCliFlags(app, command);
  app.parse(
      "generate --prompt p --max-tokens 1 --min-tokens 2 --temperature 0.5 "
      "--top-k 3 --top-p 0.25 --min-p 0.125 --typical-p 0.75 "
      "--repetition-penalty 1.5 --presence-penalty -1 --frequency-penalty 2 "
      "--penalty-window 4 --seed 18446744073709551615 --stop a --stop b,c "
      "--stop-token-ids 1,2 --stop-token-ids 3 --include-stop --ignore-eos "
      "--logit-bias 7=-2.5,8:1 --logit-bias 9=3 --allowed-token-ids 4 "
      "--banned-token-ids 5,6 --logprobs 0 --prompt-logprobs 1 --echo -n 2 "
      "--best-of 3 --priority -4 --user me --session s --expected-revision 8 "
      "--checkpoint c --cache-at 1,2 --cache-salt x --cache-pin-seconds 6 "
      "--return-state to "
      "--state from");
  const v1::GenerateRequest& request = command.generate.request;
  const v1::SamplingParams& got = request.sampling();
  EXPECT_EQ(request.priority(), -4);
  EXPECT_EQ(request.user(), "me");
  EXPECT_EQ(request.session(), "s");
  EXPECT_EQ(request.expected_revision(), 8);
  EXPECT_EQ(request.checkpoint(), "c");
  EXPECT_THAT(request.cache_at(), ElementsAre(1, 2));
  EXPECT_EQ(request.cache_salt(), "x");
  EXPECT_EQ(request.cache_pin_seconds(), 6);
  EXPECT_EQ(command.generate.return_state_file, "to");
  EXPECT_EQ(command.generate.state_file, "from");
  EXPECT_EQ(got.max_tokens(), 1);
  EXPECT_EQ(got.min_tokens(), 2);
  EXPECT_EQ(got.temperature(), 0.5);
  EXPECT_EQ(got.top_k(), 3);
  EXPECT_EQ(got.top_p(), 0.25);
  EXPECT_EQ(got.min_p(), 0.125);
  EXPECT_EQ(got.typical_p(), 0.75);
  EXPECT_EQ(got.repetition_penalty(), 1.5);
  EXPECT_EQ(got.presence_penalty(), -1);
  EXPECT_EQ(got.frequency_penalty(), 2);
  EXPECT_EQ(got.penalty_window(), 4);
  EXPECT_EQ(got.seed(), 18446744073709551615u);
  EXPECT_THAT(got.stop(), ElementsAre("a", "b,c"));
  EXPECT_THAT(got.stop_token_ids(), ElementsAre(1, 2, 3));
  EXPECT_TRUE(got.include_stop());
  EXPECT_TRUE(got.ignore_eos());
  ASSERT_EQ(got.logit_bias().size(), 3u);
  EXPECT_EQ(got.logit_bias().at(7), -2.5f);
  EXPECT_EQ(got.logit_bias().at(8), 1.0f);
  EXPECT_EQ(got.logit_bias().at(9), 3.0f);
  EXPECT_THAT(got.allowed_token_ids(), ElementsAre(4));
  EXPECT_THAT(got.banned_token_ids(), ElementsAre(5, 6));
  EXPECT_TRUE(got.has_logprobs());
  EXPECT_EQ(got.prompt_logprobs(), 1);
  EXPECT_TRUE(got.echo());
  EXPECT_EQ(got.n(), 2);
  EXPECT_EQ(got.best_of(), 3);
}

TEST_F(CliGenerateTest, LeavesWhatIsNotGivenAbsent) {
  CliCommand command;
  CLI::App app;
  AddCliFlags(app, command);
  app.parse("generate --prompt p");
  EXPECT_EQ(command.generate.request.sampling().ByteSizeLong(), 0u);
}

TEST_F(CliGenerateTest, ExitsTwoForAFlagThatCannotBeRead) {
  for (const Arguments& wrong :
       {Arguments{"--top-k", "many"}, Arguments{"--logit-bias", "5"},
        Arguments{"--logit-bias", "x=5"}, Arguments{"--stop-token-ids", "a"}}) {
    Arguments arguments = {"generate", "--prompt", "x"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    Process cli(kCli, arguments);
    EXPECT_EQ(cli.Wait(), 2) << wrong[0] << " " << wrong[1];
  }
}

TEST_F(CliGenerateTest, AddsTheChoicesToTheObjectIfThereAreSeveral) {
  StartServer();
  const Arguments some = {"generate", "--prompt",     "hi", "--seed",
                          "4",        "--max-tokens", "9",  "--logprobs",
                          "1",        "--ignore-eos"};
  Arguments one = some;
  one.emplace_back("--json");
  const auto single = Parsed(Cli(one)->output());
  ASSERT_TRUE(single.is_object());
  EXPECT_FALSE(single.contains("choices"));
  EXPECT_TRUE(single.contains("log_probability"));

  Arguments two = one;
  two.insert(two.end(), {"--n", "2", "--prompt-logprobs", "0"});
  const auto both = Parsed(Cli(two)->output());
  ASSERT_EQ(both["choices"].size(), 2u);
  EXPECT_EQ(both["text"], single["text"]);
  EXPECT_EQ(both["choices"][0]["text"], single["text"]);
  EXPECT_EQ(both["choices"][1]["tokens"].size(), 9u);
  EXPECT_EQ(both["choices"][1]["finish_reason"], "length");
  EXPECT_EQ(both["choices"][1]["logprobs"].size(), 9u);
  EXPECT_EQ(both["prompt_logprobs"].size(), 3u);
  EXPECT_EQ(both["usage"]["generated_tokens"], 18);

  Arguments text = some;
  text.insert(text.end(), {"-n", "2"});
  EXPECT_EQ(Cli(text)->output(),
            both["choices"][0]["text"].get<std::string>() + "\n" +
                both["choices"][1]["text"].get<std::string>());
}

TEST_F(CliGenerateTest, SaysHowManyStatesThereAreIfTheyAreTooFew) {
  StartServer();  // With 8.
  const auto cli = Cli({"generate", "--prompt", "x", "--best-of", "9"});
  EXPECT_EQ(exit_code_, 1);
  EXPECT_THAT(cli->error(),
              HasSubstr("request.sampling.best_of: 9; want 1 .. 8 (the server "
                        "has 8 states)"));
}

}  // namespace
}  // namespace chela
