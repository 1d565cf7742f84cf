#include "server/server_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "server/model_search.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

ParsedConfig Parse(const std::vector<std::string>& arguments,
                   const Variables& variables = {}) {
  return ParseServerConfig(arguments, [&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(ServerConfigTest, HasTheDefaultsOfTheApi) {
  const ParsedConfig parsed = Parse({});

  ASSERT_TRUE(parsed.config.has_value()) << parsed.error;
  EXPECT_EQ(parsed.config->listen.ToString(), "127.0.0.1:50051");
  EXPECT_EQ(parsed.config->metrics_listen.ToString(), "127.0.0.1:9464");
  EXPECT_EQ(parsed.config->max_waiting, 1024);
  EXPECT_EQ(parsed.config->max_message_bytes, 16 << 20);
  EXPECT_EQ(parsed.config->max_prompt_tokens, 1048576);
  EXPECT_EQ(parsed.config->max_output_tokens, 65536);
  EXPECT_EQ(parsed.config->drain_grace, milliseconds(1000));
  EXPECT_EQ(parsed.config->drain_timeout, milliseconds(60000));
  EXPECT_EQ(parsed.config->prefix_cache_bytes, -1);
  EXPECT_EQ(parsed.config->prefix_cache_dir, "");
  EXPECT_EQ(parsed.config->prefix_cache_disk_bytes, int64_t{8} << 30);
  EXPECT_FALSE(parsed.config->log_content);
  EXPECT_FALSE(parsed.config->poison_free_states);
  EXPECT_EQ(parsed.config->max_session_bytes_per_user, 0);
}

TEST(ServerConfigTest, TakesTheLimitsOfUsersAndTheDebuggingMode) {
  const ParsedConfig parsed =
      Parse({"--max-sessions-per-user", "3", "--max-session-bytes-per-user",
             "5000000000", "--poison-free-states"});
  ASSERT_TRUE(parsed.config.has_value()) << parsed.error;
  EXPECT_EQ(parsed.config->max_sessions_per_user, 3);
  EXPECT_EQ(parsed.config->max_session_bytes_per_user, 5000000000);
  EXPECT_TRUE(parsed.config->poison_free_states);
}

TEST(ServerConfigTest, TakesTheBytesOfThePrefixCacheOrAuto) {
  const auto bytes = [](const std::string& value) {
    return Parse({"--prefix-cache-bytes", value}).config->prefix_cache_bytes;
  };
  EXPECT_EQ(bytes("0"), 0);
  EXPECT_EQ(bytes("5000000000"), 5000000000);
  EXPECT_EQ(bytes("auto"), -1);
  const auto pinned = [](const std::string& value) {
    return Parse({"--prefix-cache-pinned-bytes", value})
        .config->prefix_cache_pinned_bytes;
  };
  EXPECT_EQ(Parse({}).config->prefix_cache_pinned_bytes, -1);
  EXPECT_EQ(pinned("0"), 0);
  EXPECT_EQ(pinned("1000"), 1000);
  EXPECT_EQ(pinned("auto"), -1);
}

TEST(ServerConfigTest, LetsAFlagBeatAVariableBeatTheFile) {
  const test_support::TempDir folder;
  const std::string file = folder.Write(
      "server.toml", "threads = 1\nmax-waiting = 11\nrpc-workers = 5\n");

  const ParsedConfig parsed =
      Parse({"--config", file, "--threads", "3"},
            {{"CHELA_THREADS", "2"}, {"CHELA_MAX_WAITING", "22"}});

  ASSERT_TRUE(parsed.config.has_value()) << parsed.error;
  EXPECT_EQ(parsed.config->threads, 3);
  EXPECT_EQ(parsed.config->max_waiting, 22);
  EXPECT_EQ(parsed.config->rpc_workers, 5);
}

TEST(ServerConfigTest, TakesTheConfigFileFromItsVariable) {
  const test_support::TempDir folder;
  const std::string file =
      folder.Write("c.toml", "listen = \"127.0.0.1:0\"\ninsecure = true\n");

  const ParsedConfig parsed = Parse({}, {{"CHELA_CONFIG", file}});

  ASSERT_TRUE(parsed.config.has_value()) << parsed.error;
  EXPECT_EQ(parsed.config->listen.port, 0);
  EXPECT_TRUE(parsed.config->insecure);
}

TEST(ServerConfigTest, RefusesUnknownKeysOfTheFileByName) {
  const test_support::TempDir folder;
  for (const char* text : {"max-wating = 3\n", "[server]\nthreads = 1\n"}) {
    const ParsedConfig parsed =
        Parse({"--config", folder.Write("c.toml", text)});
    EXPECT_EQ(parsed.exit_code, 1);
    EXPECT_THAT(parsed.error, HasSubstr("unknown key"));
  }
  EXPECT_THAT(
      Parse({"--config", folder.Write("c.toml", "max-wating = 3\n")}).error,
      HasSubstr("max-wating"));
}

TEST(ServerConfigTest, NamesTheSourceOfABadValue) {
  const ParsedConfig parsed = Parse({}, {{"CHELA_THREADS", "many"}});

  EXPECT_EQ(parsed.exit_code, 1);
  EXPECT_THAT(parsed.error,
              AllOf(HasSubstr("--threads"), HasSubstr("\"many\""),
                    HasSubstr("want"), HasSubstr("CHELA_THREADS")));
}

TEST(ServerConfigTest, NamesTheSourceOfABadSwitch) {
  const ParsedConfig parsed = Parse({}, {{"CHELA_INSECURE", "maybe"}});

  EXPECT_EQ(parsed.exit_code, 1);
  EXPECT_THAT(parsed.error, AllOf(HasSubstr("--insecure = maybe"),
                                  HasSubstr("want true or false"),
                                  HasSubstr("CHELA_INSECURE")));
}

TEST(ServerConfigTest, NamesFlagFoundAndWantedForEachBadFlag) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"--threads", "-1"},
      {"--threads", "2.5"},
      {"--device", "tpu"},
      {"--device", "cuda:x"},
      {"--device", "cuda:"},
      {"--device", "cuda:0,"},
      {"--device", "cuda:0,1,0"},
      {"--device", "cuda:-1"},
      {"--device", "cuda:1000"},
      {"--device", "cpu,cpu"},
      {"--weights", "int4"},
      {"--attention-replay", "1"},
      {"--attention-replay", "33"},
      {"--attention-replay", "on"},
      {"--listen", "50051"},
      {"--listen", "[::1:5"},
      {"--metrics-listen", "a:70000"},
      {"--max-batch-tokens", "8"},
      {"--drain-grace", "1"},
      {"--drain-timeout", "1w"},
      {"--log-format", "xml"},
      {"--prefix-cache-bytes", "-1"},
      {"--prefix-cache-bytes", "1MB"},
      {"--prefix-cache-disk-bytes", "-1"},
      {"--log-level", "loud"},
      {"--max-message-bytes", "99999999999"}};
  for (const auto& [flag, value] : bad) {
    const ParsedConfig parsed = Parse({flag + "=" + value});
    EXPECT_EQ(parsed.exit_code, 2) << flag;
    EXPECT_FALSE(parsed.config.has_value());
    EXPECT_THAT(parsed.error,
                AllOf(HasSubstr(flag), HasSubstr(value), HasSubstr("want")));
  }
}

TEST(ServerConfigTest, RefusesUnknownFlagsWithTwo) {
  EXPECT_EQ(Parse({"--bogus"}).exit_code, 2);
  EXPECT_EQ(Parse({"positional"}).exit_code, 2);
}

TEST(ServerConfigTest, PrintsHelpInGroupsAndTheVersion) {
  const ParsedConfig help = Parse({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, AllOf(HasSubstr("Listening"), HasSubstr("Limits"),
                                 HasSubstr("--drain-grace")));
  EXPECT_THAT(Parse({"--version"}).output, HasSubstr("chela-server 0."));
}

TEST(ServerConfigTest, RefusesToListenBeyondLoopbackWithoutInsecure) {
  for (const char* flag : {"--listen", "--metrics-listen"}) {
    const ParsedConfig parsed = Parse({flag, "0.0.0.0:1234"});
    EXPECT_EQ(parsed.exit_code, 1);
    EXPECT_THAT(parsed.error, AllOf(HasSubstr(flag), HasSubstr("--insecure")));
    EXPECT_TRUE(Parse({flag, "0.0.0.0:1234", "--insecure"}).config.has_value());
  }
}

TEST(ServerConfigTest, ReadsDevices) {
  EXPECT_THAT(Parse({"--device", "cuda:3"}).config->device_numbers,
              ElementsAre(3));
  EXPECT_THAT(Parse({"--device", "cuda:10,2,0"}).config->device_numbers,
              ElementsAre(10, 2, 0));
  EXPECT_THAT(Parse({"--device", "cuda"}).config->device_numbers,
              ElementsAre(0));
  EXPECT_EQ(Parse({"--device", "cuda"}).config->device, DeviceChoice::kCuda);
  EXPECT_EQ(Parse({"--device", "cpu"}).config->device, DeviceChoice::kCpu);
}

TEST(ServerConfigTest, ReadsDurations) {
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("30s"), milliseconds(30000));
  EXPECT_EQ(*ParseDuration("5m"), milliseconds(300000));
  EXPECT_EQ(*ParseDuration("24h"), milliseconds(86400000));
  EXPECT_EQ(*ParseDuration("0s"), milliseconds(0));
  for (const char* bad :
       {"", "5", "s", "-1s", "1.5s", "1 s", "99999999999s", "8761h"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
}

TEST(AddressTest, KnowsLoopback) {
  for (const char* text :
       {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"}) {
    EXPECT_TRUE(Address::Parse(text)->IsLoopback()) << text;
  }
  for (const char* text :
       {"0.0.0.0:1", "[::]:1", "example.org:1", "10.0.0.1:1"}) {
    EXPECT_FALSE(Address::Parse(text)->IsLoopback()) << text;
  }
}

TEST(AddressTest, WritesIpv6InBrackets) {
  EXPECT_EQ(Address::Parse("[::1]:80")->ToString(), "[::1]:80");
}

TEST(AddressTest, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", "a", ":1", "a:", "a:x", "::1:5", "[]:1", "a:65536", "a:-1"}) {
    EXPECT_FALSE(Address::Parse(text).ok()) << text;
  }
}

TEST(ModelSearchTest, TakesTheFirstPlaceWithAConfig) {
  const test_support::TempDir first, second;
  second.Write("config.json", "{}");

  EXPECT_EQ(*FindModel({first.path(), second.path()}), second.path());
}

TEST(ModelSearchTest, LooksBesideTheProgramInTheSourceTreeAndHere) {
  EXPECT_THAT(DefaultModelPlaces("/opt/x/bin", "/src/demo"),
              ::testing::ElementsAre("/opt/x/share/chela/chela-demo",
                                     "/src/demo", "./models/chela-demo"));
}

TEST(ModelSearchTest, NamesAllFourPlacesWithoutAModel) {
  const auto found = FindModel({"/none/a", "/none/b", "./none/c"});

  EXPECT_TRUE(absl::IsNotFound(found.status()));
  EXPECT_THAT(std::string(found.status().message()),
              AllOf(HasSubstr("$CHELA_MODEL"), HasSubstr("/none/a"),
                    HasSubstr("/none/b"), HasSubstr("./none/c")));
}

TEST(ModelSearchTest, NamesAModelAfterItsFolder) {
  EXPECT_EQ(BaseName("/models/demo/"), "demo");
  EXPECT_EQ(BaseName("/models/demo"), "demo");
}

TEST(ServerConfigTest, RefusesASessionStoreOfAnotherScheme) {
  for (const std::string where : {"ftp://host/x", "http://x", ""}) {
    SCOPED_TRACE(where);
    const ParsedConfig parsed = Parse({"--session-store", where});
    EXPECT_FALSE(parsed.config.has_value());
    EXPECT_THAT(parsed.error,
                AllOf(HasSubstr("--session-store: \"" + where + "\"; want"),
                      HasSubstr("redis://HOST:PORT")));
  }
  for (const std::string where :
       {"memory", "/var/chela", "redis://h:1/2", "unix:///run/redis"}) {
    EXPECT_EQ(Parse({"--session-store", where}).config->session_store, where);
  }
}

}  // namespace
}  // namespace chela
