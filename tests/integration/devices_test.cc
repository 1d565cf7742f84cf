// chela-server with several GPUs, and without any.
#include <gmock/gmock.h>
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/devices_rig.h"

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

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

class DeviceFoldersTest : public DevicesTest {
 protected:
  // A prompt of more than one chunk for each device, at once; what chela-cli
  // printed.
  std::vector<std::string> AskBoth() {
    std::vector<std::unique_ptr<Process>> clients;
    for (const std::string word : {"sea ", "hill "}) {
      std::string prompt;
      while (prompt.size() < 400) prompt += word;
      clients.push_back(
          Cli({"generate", "--prompt", prompt, "--max-tokens", "200",
               "--temperature", "0", "--ignore-eos", "--json"}));
      // The next one finds the first device's states taken.
      const std::string running =
          "_requests_running " + std::to_string(clients.size()) + "\n";
      EXPECT_TRUE(Eventually([&] {
        return Unlabelled(Page()).find(running) != std::string::npos;
      }));
    }
    std::vector<std::string> answers;
    for (const auto& client : clients) {
      EXPECT_EQ(client->Wait(), 0) << client->error();
      answers.push_back(client->output());
    }
    return answers;
  }
  static std::string TokensOf(const std::string& answer) {
    const size_t from = answer.find("\"tokens\":[");
    EXPECT_NE(from, std::string::npos) << answer;
    return answer.substr(from, answer.find(']', from) - from);
  }
};

TEST_F(DeviceFoldersTest, EachDeviceFindsThePrefixesOfItsOwnAgain) {
  const std::string prefixes = folder_.path() + "/prefixes";
  const Arguments flags = {"--max-sequences",      "1",
                           "--prefix-cache-dir",   prefixes,
                           "--prefix-cache-bytes", "1000000"};
  Start("cuda:0,1", flags);
  const std::vector<std::string> first = AskBoth();
  server_->Signal(SIGTERM);
  ASSERT_EQ(server_->Wait(), 0) << server_->error();

  Start("cuda:0,1", flags);
  const std::vector<std::string> again = AskBoth();
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_THAT(first[i], Not(HasSubstr("\"cached_tier\":\"disk\"")));
    EXPECT_THAT(again[i], AllOf(HasSubstr("\"cached_prompt_tokens\":256"),
                                HasSubstr("\"cached_tier\":\"disk\"")));
    EXPECT_EQ(TokensOf(again[i]), TokensOf(first[i]));
    const std::string own = prefixes + "/" + std::to_string(i);
    ExpectRefusal(*Server("cuda:0", {"--prefix-cache-dir", own}),
                  {"--prefix-cache-dir: ", own, "in use"});
  }
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
