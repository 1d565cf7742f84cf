// Sessions over the wire: a real server, a real client, the tiny model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "chela/v1/session.grpc.pb.h"
#include "tests/integration/server_rig.h"
#include "tests/integration/session_client.h"

namespace chela {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SessionsTest : public ::testing::Test {
 protected:
  ServerRig rig_;
  SessionClient client_{rig_};
};

TEST_F(SessionsTest, ContinuesATextTurnByTurn) {
  const v1::Session session = client_.Create("chat");
  EXPECT_EQ(session.id(), "chat");
  EXPECT_EQ(session.revision(), 0);
  EXPECT_TRUE(session.has_expire_time());
  const auto first = client_.Generate(In("chat", "Once upon", 30));
  EXPECT_EQ(first.revision(), 1);
  v1::GenerateRequest resume = In("chat", "", 30);
  resume.mutable_sampling()->clear_seed();
  const auto second = client_.Generate(resume);
  EXPECT_EQ(second.revision(), 2);
  EXPECT_EQ(second.finish().seed(), 3u);
  const auto whole = client_.Generate(Alone("Once upon", 60));
  EXPECT_FALSE(whole.has_revision());
  EXPECT_EQ(Joined(Tokens(first), Tokens(second)), Tokens(whole));
  EXPECT_EQ(first.text() + second.text(), whole.text());

  const v1::Session listed = client_.List().sessions(0);
  EXPECT_EQ(listed.tokens(), 1 + 9 + 60);
  EXPECT_THAT(listed.revisions(), ElementsAre(2, 1));
  EXPECT_TRUE(listed.in_memory());
  EXPECT_GT(listed.state_bytes(), 0);
}

TEST_F(SessionsTest, AStreamCarriesTheRevisionInItsLastMessage) {
  client_.Create("s");
  v1::GenerateStreamRequest request;
  *request.mutable_request() = In("s", "abc", 20);
  grpc::ClientContext context;
  const auto reader = rig_.stub().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  std::optional<int64_t> revision;
  while (reader->Read(&message)) {
    EXPECT_FALSE(revision.has_value()) << "a message after the last one";
    if (message.has_revision()) revision = message.revision();
    EXPECT_EQ(message.has_revision(), message.finish().has_usage());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(revision, 1);
}

TEST_F(SessionsTest, ExpectedRevisionGoesOnOrBackOnce) {
  client_.Create("s");
  const auto first = client_.Generate(In("s", "abc", 10));
  v1::GenerateRequest next = In("s", "def", 10);
  next.set_expected_revision(1);
  const auto second = client_.Generate(next);
  EXPECT_EQ(second.revision(), 2);
  // The answer was lost, say: the same call again replaces it.
  const auto again = client_.Generate(next);
  EXPECT_EQ(again.revision(), 3);
  EXPECT_EQ(Tokens(again), Tokens(second));
  next.set_expected_revision(2);
  EXPECT_EQ(client_.Status(next).error_code(), StatusCode::FAILED_PRECONDITION);
  next.set_expected_revision(7);
  const grpc::Status wrong = client_.Status(next);
  EXPECT_EQ(wrong.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(wrong.error_message(), HasSubstr("7"));
  EXPECT_THAT(wrong.error_message(), HasSubstr("3"));
}

TEST_F(SessionsTest, ForksRewindsAndCheckpoints) {
  client_.Create("s");
  v1::GenerateRequest read = In("s", "The captain", 0);
  read.set_checkpoint("start");
  const auto prompt = client_.Generate(read);
  EXPECT_EQ(prompt.text(), "");
  EXPECT_EQ(prompt.finish().usage().prompt_tokens(), 12);
  for (const uint64_t seed : {5u, 6u}) {
    const std::string id = "fork" + std::to_string(seed);
    EXPECT_EQ(client_.Fork("s", id).id(), id);
    v1::GenerateRequest alone = Alone("The captain", 25);
    alone.mutable_sampling()->set_seed(seed);
    EXPECT_EQ(Tokens(client_.Generate(In(id, "", 25, seed))),
              Tokens(client_.Generate(alone)));
  }
  const auto first = client_.Generate(In("s", "", 25));
  client_.Generate(In("s", "more", 25));
  v1::SessionPoint start;
  start.set_checkpoint("start");
  const v1::Session back = client_.Rewind("s", start);
  EXPECT_EQ(back.revision(), 4);
  EXPECT_EQ(back.tokens(), 12);
  EXPECT_THAT(back.checkpoints(), ElementsAre("start"));
  EXPECT_EQ(Tokens(client_.Generate(In("s", "", 25))), Tokens(first));
}

TEST_F(SessionsTest, GoesBackBeforeAStopString) {
  client_.Create("s");
  const auto whole = client_.Generate(Alone("Once", 60));
  // What stands in the middle of that text, as a stop.
  size_t at = whole.text().size() / 2;
  while (at < whole.text().size() &&
         (static_cast<unsigned char>(whole.text()[at]) & 0x80) != 0) {
    ++at;
  }
  ASSERT_LT(at, whole.text().size());
  v1::GenerateRequest request = In("s", "Once", 60);
  request.mutable_sampling()->add_stop(whole.text().substr(at, 1));
  const auto stopped = client_.Generate(request);
  ASSERT_EQ(stopped.finish().reason(), v1::FINISH_REASON_STOP);
  // A token a byte: the session ends with the token before the stop.
  EXPECT_EQ(client_.List().sessions(0).tokens(),
            5 + stopped.tokens().ids_size() - 1);
  const auto rest = client_.Generate(In("s", "", 20));
  std::vector<int32_t> kept = Tokens(stopped);
  kept.pop_back();
  const std::vector<int32_t> all = Tokens(whole);
  EXPECT_EQ(Joined(kept, Tokens(rest)),
            std::vector<int32_t>(all.begin(), all.begin() + kept.size() + 20));
}

TEST_F(SessionsTest, TwoCallsAtOnceCannotUseOneSession) {
  client_.Create("s");
  grpc::ClientContext context;
  v1::GenerateStreamRequest request;
  *request.mutable_request() = In("s", "abc", 60000);
  const auto reader = rig_.stub().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(client_.Status(In("s", "x", 5)).error_code(), StatusCode::ABORTED);
  v1::SessionPoint newest;
  EXPECT_EQ(client_.Delete("s").error_code(), StatusCode::ABORTED);
  // Cancelled: the session is as it was, and free.
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(
      Eventually([&] { return client_.Status(In("s", "abc", 5)).ok(); }));
  EXPECT_EQ(client_.List().sessions(0).tokens(), 4 + 5);
  EXPECT_TRUE(client_.Delete("s").ok());
  EXPECT_EQ(client_.Status(In("s", "x", 5)).error_code(),
            StatusCode::NOT_FOUND);
}

TEST_F(SessionsTest, ARefusedOrOverdueTurnLeavesTheSessionAsItWas) {
  client_.Create("s");
  client_.Generate(In("s", "abc", 5));
  v1::GenerateRequest bad = In("s", "abc", 5);
  bad.mutable_sampling()->set_top_p(7);
  bad.mutable_sampling()->set_n(2);
  bad.mutable_sampling()->set_echo(true);
  bad.mutable_sampling()->set_penalty_window(9000);
  const grpc::Status refused = client_.Status(bad);
  EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT);
  for (const char* field : {"sampling.top_p", "sampling.n", "sampling.echo",
                            "sampling.penalty_window"}) {
    EXPECT_THAT(refused.error_details(), HasSubstr(field));
  }
  EXPECT_EQ(client_.Status(In("s", "abc", 60000), std::chrono::milliseconds(50))
                .error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return client_.Status(In("s", "", 1)).ok(); }));
  const v1::Session session = client_.List().sessions(0);
  EXPECT_EQ(session.revision(), 2);
  EXPECT_EQ(session.tokens(), 4 + 5 + 1);
}

TEST_F(SessionsTest, AnotherServerImportsWhatOneExports) {
  client_.Create("s");
  client_.Generate(In("s", "Once upon a time", 40));
  const std::string snapshot = client_.Export("s");
  const auto here = client_.Generate(In("s", "", 40));

  ServerRig other;
  SessionClient there(other);
  EXPECT_EQ(there.Import("copy", snapshot, 1000).id(), "copy");
  EXPECT_EQ(Tokens(there.Generate(In("copy", "", 40))), Tokens(here));
  // Damaged, cut off, empty.
  std::string damaged = snapshot;
  damaged[damaged.size() / 2] ^= 1;
  for (const std::string& bytes :
       {damaged, snapshot.substr(0, snapshot.size() - 1), std::string()}) {
    EXPECT_EQ(there.ImportStatus("bad", bytes).error_code(),
              StatusCode::DATA_LOSS);
  }
  EXPECT_EQ(there.ImportStatus("copy", snapshot).error_code(),
            StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(there.List().sessions_size(), 1);
}

TEST_F(SessionsTest, TakesAnImportInBytesAndEmptyPieces) {
  client_.Create("s");
  client_.Generate(In("s", "Once", 5));
  const std::string snapshot = client_.Export("s");
  EXPECT_EQ(client_.Import("bytes", snapshot, 1).tokens(), 10);
}

TEST_F(SessionsTest, CountsItsCalls) {
  client_.Create("s");
  client_.Generate(In("s", "x", 1));
  client_.Delete("none");
  const std::string page =
      Http(rig_.server().metrics_address().port, "GET", "/metrics");
  EXPECT_THAT(page, HasSubstr("chela_requests_total{"));
  for (const char* part :
       {"rpc=\"create_session\"", "rpc=\"import_session\"", "op=\"turn\"",
        "chela_sessions{model=\"tiny\",tier=\"memory\"} 1"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
}

}  // namespace
}  // namespace chela
