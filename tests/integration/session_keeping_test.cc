// What outlives a server: sessions in a folder, states that clients keep.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_rig.h"
#include "tests/integration/session_client.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using grpc::StatusCode;
using test_support::TempDir;
using ::testing::HasSubstr;

TEST(SessionStoreTest, ARestartedServerGoesOnFromItsFolder) {
  const TempDir folder;
  ServerConfig config;
  config.session_store = folder.path() + "/sessions";
  std::vector<int32_t> before;
  {
    ServerRig rig(config);
    SessionClient client(rig);
    client.Create("s");
    before = Tokens(client.Generate(In("s", "Once upon", 20)));
  }
  ServerRig rig(config);
  SessionClient client(rig);
  const v1::Session found = client.List().sessions(0);
  EXPECT_EQ(found.id(), "s");
  EXPECT_EQ(found.revision(), 1);
  EXPECT_FALSE(found.in_memory());
  const auto after = client.Generate(In("s", "", 20));
  EXPECT_EQ(after.revision(), 2);
  EXPECT_EQ(Joined(before, Tokens(after)),
            Tokens(client.Generate(Alone("Once upon", 40))));
}

TEST(SessionStoreTest, AUserHasNoMoreThanItsBytes) {
  ServerConfig config;
  config.max_session_bytes_per_user = 100000;  // two states at the most
  ServerRig rig(config);
  SessionClient client(rig);
  client.Create("s");
  int32_t turns = 0;
  grpc::Status status;
  while (turns < 16) {
    v1::GenerateRequest request = In("s", "Once upon", 1);
    request.set_checkpoint(absl::StrCat("c", turns));
    status = client.Status(request);
    if (!status.ok()) break;
    ++turns;
  }
  EXPECT_GE(turns, 1);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("the limit is 100000"));
  EXPECT_EQ(client.List().sessions(0).revision(), turns);
  EXPECT_LE(client.List().sessions(0).state_bytes(), 100000);
  EXPECT_TRUE(client.Delete("s").ok());
  client.Create("s");
  EXPECT_TRUE(client.Status(In("s", "Once upon", 1)).ok());
}

TEST(ReturnedStateTest, GoesOnWithAnyServerOfTheSameKey) {
  const TempDir folder;
  ServerConfig config;
  config.state_key_file = folder.path() + "/key";
  std::ofstream(config.state_key_file) << std::string(32, 'k') << "\n";
  ServerRig one(config);
  SessionClient first(one);
  v1::GenerateRequest request = Alone("Once upon", 20);
  request.set_return_state(true);
  const auto start = first.Generate(request);
  ASSERT_TRUE(start.has_state());
  EXPECT_FALSE(start.has_revision());

  ServerRig two(config);
  SessionClient second(two);
  v1::GenerateRequest next = Alone("", 20);
  next.clear_prompt();
  next.set_state(start.state());
  EXPECT_EQ(Joined(Tokens(start), Tokens(second.Generate(next))),
            Tokens(first.Generate(Alone("Once upon", 40))));
  // Forged, changed, cut off.
  for (const size_t byte : {size_t{0}, size_t{40}, start.state().size() - 1}) {
    std::string state = start.state();
    state[byte] ^= 1;
    next.set_state(state);
    EXPECT_EQ(second.Status(next).error_code(), StatusCode::PERMISSION_DENIED);
  }
  next.set_state("short");
  EXPECT_EQ(second.Status(next).error_code(), StatusCode::PERMISSION_DENIED);
  // Another key.
  std::ofstream(config.state_key_file) << std::string(32, 'x');
  ServerRig three(config);
  next.set_state(start.state());
  EXPECT_EQ(SessionClient(three).Status(next).error_code(),
            StatusCode::PERMISSION_DENIED);
  // No room in a message.
  config.max_message_bytes = 1024;
  ServerRig four(config);
  const grpc::Status small = SessionClient(four).Status(request);
  EXPECT_EQ(small.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(small.error_message(), HasSubstr("--max-message-bytes"));
}

}  // namespace
}  // namespace chela
