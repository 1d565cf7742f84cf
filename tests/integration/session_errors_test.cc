// What calls of sessions are refused for, over the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "chela/v1/session.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "tests/integration/server_rig.h"
#include "tests/integration/session_client.h"

namespace chela {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using Fields = std::vector<std::string>;

// The fields of a BadRequest; each says what is wanted.
Fields WrongFields(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT)
      << status.error_message();
  google::rpc::Status details;
  google::rpc::BadRequest wrong;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  Fields fields;
  for (const auto& detail : details.details()) {
    EXPECT_TRUE(wrong.ParseFromString(detail.value()));
    for (const auto& one : wrong.field_violations()) {
      EXPECT_THAT(one.description(), HasSubstr("want"));
      fields.push_back(one.field());
    }
  }
  return fields;
}

class SessionErrorsTest : public ::testing::Test {
 protected:
  template <typename Method, typename Request, typename Response>
  grpc::Status Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, response);
  }
  grpc::Status Create(const v1::CreateSessionRequest& request) {
    v1::CreateSessionResponse response;
    return Call(&v1::SessionService::Stub::CreateSession, request, &response);
  }
  grpc::Status Fork(const v1::ForkSessionRequest& request) {
    v1::ForkSessionResponse response;
    return Call(&v1::SessionService::Stub::ForkSession, request, &response);
  }
  grpc::Status Rewind(const v1::RewindSessionRequest& request) {
    v1::RewindSessionResponse response;
    return Call(&v1::SessionService::Stub::RewindSession, request, &response);
  }
  grpc::Status Export(const v1::ExportSessionRequest& request) {
    grpc::ClientContext context;
    v1::ExportSessionResponse response;
    const auto reader = stub_->ExportSession(&context, request);
    while (reader->Read(&response)) {
    }
    return reader->Finish();
  }

  ServerRig rig_;
  SessionClient client_{rig_};
  const std::unique_ptr<v1::SessionService::Stub> stub_ =
      v1::SessionService::NewStub(rig_.channel());
};

TEST_F(SessionErrorsTest, NamesWhatIsWrongWithARequest) {
  EXPECT_EQ(client_.Status(In("none", "x", 1)).error_code(),
            StatusCode::NOT_FOUND);
  v1::GenerateRequest request = Alone("x", 1);
  request.set_expected_revision(1);
  request.set_checkpoint("c");
  request.mutable_sampling()->set_max_tokens(0);
  request.add_cache_at(0);
  request.set_cache_salt(std::string(300, 's'));
  const grpc::Status status = client_.Status(request);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  for (const char* field :
       {"expected_revision", "checkpoint", "sampling.max_tokens", "cache_at[0]",
        "cache_salt"}) {
    EXPECT_THAT(status.error_details(), HasSubstr(field));
  }
  client_.Create("empty");
  EXPECT_EQ(client_.Status(In("empty", "", 1)).error_code(),
            StatusCode::INVALID_ARGUMENT);
  request = Alone("x", 1);
  request.set_return_state(true);
  EXPECT_EQ(client_.Status(request).error_code(),
            StatusCode::FAILED_PRECONDITION);
}

TEST_F(SessionErrorsTest, NameEveryFieldOfANewSession) {
  v1::CreateSessionRequest create;
  v1::SessionSettings& settings = *create.mutable_settings();
  settings.set_id("");
  settings.set_user(std::string(257, 'u'));
  settings.set_ttl_seconds(-1);
  const Fields all = {"settings.id", "settings.user", "settings.ttl_seconds"};
  EXPECT_EQ(WrongFields(Create(create)), all);
  settings.set_id("a/b");
  settings.set_ttl_seconds(315360001);
  EXPECT_EQ(WrongFields(Create(create)), all);
  v1::ForkSessionRequest fork;
  *fork.mutable_settings() = settings;
  fork.mutable_from()->set_checkpoint("");
  EXPECT_THAT(WrongFields(Fork(fork)),
              UnorderedElementsAre("session", "from.checkpoint", "settings.id",
                                   "settings.user", "settings.ttl_seconds"));
  EXPECT_THAT(WrongFields(client_.ImportStatus("a b", "")),
              ElementsAre("settings.id"));
}

TEST_F(SessionErrorsTest, NameTheFieldsOfAPoint) {
  client_.Create("s");
  v1::RewindSessionRequest rewind;
  EXPECT_THAT(WrongFields(Rewind(rewind)), ElementsAre("session", "to"));
  rewind.set_session("s");
  rewind.mutable_to()->set_revision(-1);
  EXPECT_THAT(WrongFields(Rewind(rewind)), ElementsAre("to.revision"));
  // Not the newest state.
  rewind.mutable_to()->set_checkpoint("");
  EXPECT_THAT(WrongFields(Rewind(rewind)), ElementsAre("to.checkpoint"));
  v1::ExportSessionRequest request;
  request.set_session("s s");
  request.mutable_at()->set_checkpoint(std::string(65, 'c'));
  EXPECT_THAT(WrongFields(Export(request)),
              ElementsAre("session", "at.checkpoint"));
  EXPECT_THAT(WrongFields(client_.Delete("*")), ElementsAre("session"));
}

TEST_F(SessionErrorsTest, NameTheFieldsOfATurn) {
  client_.Create("s");
  v1::GenerateRequest request = In("s", "x", 1);
  request.set_expected_revision(-1);
  request.set_checkpoint("");
  request.set_state("state");
  EXPECT_THAT(WrongFields(client_.Status(request)),
              ElementsAre("state", "expected_revision", "checkpoint"));
  request.set_session("no name");
  v1::GenerateStreamRequest stream;
  *stream.mutable_request() = request;
  grpc::ClientContext context;
  v1::GenerateStreamResponse message;
  const auto reader = rig_.stub().GenerateStream(&context, stream);
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_THAT(WrongFields(reader->Finish()),
              ElementsAre("request.session", "request.state",
                          "request.expected_revision", "request.checkpoint"));
  // It was not used.
  EXPECT_EQ(client_.List().sessions(0).revision(), 0);
  EXPECT_TRUE(client_.Status(In("s", "x", 1)).ok());
}

TEST_F(SessionErrorsTest, TellAnotherModelsSnapshotWhateverItsSize) {
  client_.Create("s");
  client_.Generate(In("s", "Once", 5));
  const std::string snapshot = client_.Export("s");
  for (const int32_t layers : {1, 3}) {
    ModelConfig config = test_support::TinyConfig();
    config.num_hidden_layers = layers;
    const test_support::TinyModel model(config);
    ServerRig other({}, /*load=*/false);
    ASSERT_TRUE(other.server().Load(model.directory()).ok());
    SessionClient there(other);
    EXPECT_EQ(there.ImportStatus("s", snapshot).error_code(),
              StatusCode::FAILED_PRECONDITION);
    // Longer than any state there, in pieces of all sizes.
    for (const size_t piece : {size_t{1000}, snapshot.size()}) {
      const grpc::Status status =
          there.ImportStatus("s", snapshot + std::string(200000, 'x'), piece);
      EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
      EXPECT_THAT(status.error_message(), HasSubstr("of the model "));
    }
    EXPECT_EQ(there.ImportStatus("s", std::string(300000, 'x')).error_code(),
              StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(SessionErrorsTest, AnImportThatCannotBeDecodedIsNotTheEndOfIt) {
  client_.Create("s");
  client_.Generate(In("s", "Once", 5));
  const std::string snapshot = client_.Export("s");
  const grpc::internal::RpcMethod method(
      "/chela.v1.SessionService/ImportSession",
      grpc::internal::RpcMethod::CLIENT_STREAMING, rig_.channel());
  grpc::ClientContext context;
  grpc::ByteBuffer answer;
  const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
      grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
          rig_.channel().get(), method, &context, &answer));
  const auto write = [&writer](const std::string& bytes) {
    const grpc::Slice slice(bytes);
    writer->Write(grpc::ByteBuffer(&slice, 1));
  };
  v1::ImportSessionRequest whole;
  whole.mutable_settings()->set_id("copy");
  whole.set_chunk(snapshot);
  write(whole.SerializeAsString());
  write("\xff\xff\xff");
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("cannot be decoded"));
  EXPECT_EQ(client_.List().sessions_size(), 1);
}

}  // namespace
}  // namespace chela
