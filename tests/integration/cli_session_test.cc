// `chela-cli session` and `generate --session` against server processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/integration/programs_rig.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CliSessionTest : public ProgramsTest {
 protected:
  nlohmann::json Json(Arguments arguments) {
    arguments.push_back("--json");
    const auto cli = Cli(arguments);
    EXPECT_EQ(exit_code_, 0) << cli->error();
    return nlohmann::json::parse(cli->output(), nullptr, false);
  }
  // What a session of these turns generates, as tokens.
  std::vector<int32_t> Generate(const std::string& prompt, int tokens,
                                const Arguments& more) {
    Arguments arguments = {"generate",
                           "--prompt",
                           prompt,
                           "--max-tokens",
                           std::to_string(tokens),
                           "--ignore-eos"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Json(arguments)["tokens"];
  }

  test_support::TempDir folder_;
};

TEST_F(CliSessionTest, KeepsATextThroughAKilledServer) {
  const Arguments store = {"--session-store", folder_.path() + "/store"};
  StartServer(store);
  EXPECT_EQ(Cli({"session", "create", "chat"})->output(), "chat\n");
  std::vector<int32_t> tokens =
      Generate("Once", 20, {"--session", "chat", "--seed", "4"});
  server_->Signal(SIGKILL);
  server_->Wait();
  StartServer(store);
  const nlohmann::json list = Json({"session", "list"})["sessions"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["tokens"], 25);
  EXPECT_EQ(list[0]["in_memory"], false);
  const auto rest = Generate("", 20, {"--session", "chat"});
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  EXPECT_EQ(tokens, Generate("Once", 40, {"--seed", "4"}));
}

TEST_F(CliSessionTest, HasEveryVerb) {
  StartServer();
  const auto random = Cli({"session", "create", "--user", "me"});
  EXPECT_EQ(exit_code_, 0);
  EXPECT_EQ(random->output().size(), 33u) << random->output();
  EXPECT_EQ(Cli({"session", "create", "--id", "a"})->output(), "a\n");
  Generate("Once", 5, {"--session", "a", "--checkpoint", "one"});
  const auto other = Generate("more", 5, {"--session", "a", "--seed", "1"});
  EXPECT_EQ(Cli({"session", "fork", "a", "--id", "b", "--checkpoint", "one"})
                ->output(),
            "b\n");
  EXPECT_EQ(Generate("more", 5, {"--session", "b", "--seed", "1"}), other);
  const auto rewound = Cli({"session", "rewind", "a", "--revision", "1"});
  EXPECT_EQ(rewound->output(), "");
  EXPECT_THAT(rewound->error(), HasSubstr("session a: revision 3, 10 tokens"));
  const std::string file = folder_.path() + "/a.snapshot";
  EXPECT_EQ(Cli({"session", "export", "a", file})->output(), "");
  EXPECT_EQ(exit_code_, 0);
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(Cli({"session", "import", file, "--id", "c"})->output(), "c\n");
  EXPECT_EQ(Generate("more", 5, {"--session", "c", "--seed", "1"}), other);
  EXPECT_EQ(Cli({"session", "delete", "c"})->output(), "");
  EXPECT_EQ(Json({"session", "list", "--user", "me"})["sessions"].size(), 1u);
  EXPECT_EQ(Json({"session", "list"})["sessions"].size(), 3u);

  EXPECT_THAT(Cli({"session", "delete", "c"})->error(), HasSubstr("NOT_FOUND"));
  EXPECT_EQ(exit_code_, 1);
  EXPECT_THAT(Cli({"session", "import", "/nowhere"})->error(),
              HasSubstr("cannot read \"/nowhere\""));
  EXPECT_EQ(exit_code_, 1);
  for (const Arguments& wrong :
       {Arguments{"session"}, Arguments{"session", "rewind", "a"},
        Arguments{"session", "fork", "a", "--revision", "1", "--checkpoint",
                  "one"},
        Arguments{"session", "export", "a"}}) {
    Cli(wrong);
    EXPECT_EQ(exit_code_, 2);
  }
}

TEST_F(CliSessionTest, KeepsAStateInAFile) {
  const std::string key = folder_.path() + "/key";
  std::ofstream(key) << std::string(40, 'k');
  StartServer({"--state-key-file", key});
  const std::string file = folder_.path() + "/state";
  std::vector<int32_t> tokens =
      Generate("Once", 20, {"--seed", "4", "--return-state", file});
  const auto rest = Generate("", 20, {"--state", file});
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  EXPECT_EQ(tokens, Generate("Once", 40, {"--seed", "4"}));
}

TEST_F(CliSessionTest, TheServerNamesAWrongFlag) {
  const auto refused = [&](const Arguments& flags, int code = 1) {
    Process server(kServer, ServerArguments(model_.directory(), flags));
    EXPECT_EQ(server.Wait(), code);
    return server.error();
  };
  EXPECT_THAT(refused({"--state-key-file", "/nowhere"}),
              HasSubstr("--state-key-file: cannot read \"/nowhere\""));
  std::ofstream(folder_.path() + "/short") << "short";
  EXPECT_THAT(refused({"--state-key-file", folder_.path() + "/short"}),
              HasSubstr("has 5 bytes; want 32 .. 4096"));
  EXPECT_THAT(
      refused({"--check", "--state-key-file", folder_.path() + "/short"}),
      HasSubstr("has 5 bytes; want 32 .. 4096"));
  EXPECT_THAT(refused({"--session-store", "/proc/nowhere"}),
              HasSubstr("--session-store: "));
  // Not a folder of that name.
  EXPECT_THAT(refused({"--session-store", "rediss://127.0.0.1:1"}, 2),
              HasSubstr("--session-store: \"rediss://127.0.0.1:1\"; want "));
}

}  // namespace
}  // namespace chela
