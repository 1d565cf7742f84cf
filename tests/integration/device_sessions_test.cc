// Sessions of a server with several devices: any of them runs any turn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/devices_rig.h"

namespace chela {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Tokens = std::vector<int>;

class DeviceSessionsTest : public DevicesTest {
 protected:
  Tokens Generate(Arguments arguments) {
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(),
                     {"--json", "--ignore-eos", "--seed", "5"});
    const auto cli = Cli(arguments);
    EXPECT_EQ(cli->Wait(), 0) << cli->error();
    const json answer = json::parse(cli->output(), nullptr, false);
    return answer.is_discarded() ? Tokens() : answer["tokens"].get<Tokens>();
  }
  Tokens Turn(const std::string& id, const std::string& prompt, int tokens) {
    return Generate({"--session", id, "--prompt", prompt, "--max-tokens",
                     std::to_string(tokens)});
  }
  void Session(const Arguments& arguments) {
    Arguments all = {"session"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const auto cli = Cli(all);
    EXPECT_EQ(cli->Wait(), 0) << cli->error();
  }
  // Slots that sequences hold on a device.
  double Active(int device) {
    const std::string page = Page();
    const std::string start = "chela_device_state_slots{";
    const std::string name = absl::StrCat("device=\"cuda:", device, "\"");
    for (size_t at = page.find(start); at != std::string::npos;
         at = page.find(start, at + 1)) {
      const std::string line = page.substr(at, page.find('\n', at) - at);
      if (line.find(name) == std::string::npos ||
          line.find("state=\"active\"") == std::string::npos) {
        continue;
      }
      return std::stod(line.substr(line.rfind(' ') + 1));
    }
    ADD_FAILURE() << "no slots of device " << device;
    return -1;
  }
  // A request that keeps the only slot of `device`.
  Process& Occupy(int device) {
    Process& client = Endless();
    WaitForText(client);
    EXPECT_EQ(Active(device), 1);
    return client;
  }
};

TEST_F(DeviceSessionsTest, ASessionGoesFromDeviceToDevice) {
  Start("cuda:0", {"--max-sequences", "1"});
  const Tokens whole =
      Generate({"--prompt", "Once upon", "--max-tokens", "60"});
  ASSERT_EQ(whole.size(), 60U);
  server_.reset();

  Start("cuda:0,1", {"--max-sequences", "1"});
  Session({"create", "s"});
  Process& first = Occupy(0);
  // On the second.
  Tokens got = Turn("s", "Once upon", 20);
  Process& second = Occupy(1);
  first.Signal(SIGINT);
  first.Wait();
  ASSERT_TRUE(Eventually([&] { return Active(0) == 0; }));
  // On the first.
  const Tokens more = Turn("s", "", 20);
  got.insert(got.end(), more.begin(), more.end());
  second.Signal(SIGINT);
  second.Wait();
  ASSERT_TRUE(Eventually([&] { return Active(1) == 0; }));
  Session({"export", "s", folder_.path() + "/snapshot"});
  Session({"import", folder_.path() + "/snapshot", "--id", "copy"});
  const Tokens rest = Turn("copy", "", 20);
  got.insert(got.end(), rest.begin(), rest.end());
  EXPECT_EQ(got, whole);
}

TEST_F(DeviceSessionsTest, ManySessionsAtOnceAreThoseOfOneDevice) {
  constexpr int kSessions = 6;
  const auto run = [&] {
    std::vector<std::vector<Tokens>> texts(kSessions);
    std::vector<std::thread> clients;
    for (int i = 0; i < kSessions; ++i) {
      clients.emplace_back([&, i] {
        const std::string id = absl::StrCat("s", i);
        Session({"create", id});
        for (int turn = 0; turn < 3; ++turn) {
          texts[i].push_back(
              Turn(id, absl::StrCat("turn ", std::string(i + 1, 'x')), 12));
        }
        Session({"fork", id, "--id", absl::StrCat("f", id), "--revision", "2"});
        texts[i].push_back(Turn(absl::StrCat("f", id), "and then", 12));
      });
    }
    for (std::thread& client : clients) client.join();
    return texts;
  };
  Start("cuda:0", {"--max-sequences", "8"});
  const auto want = run();
  server_.reset();
  Start("cuda:0,1", {"--max-sequences", "2"});
  EXPECT_EQ(run(), want);
}

}  // namespace
}  // namespace chela
