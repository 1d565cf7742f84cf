#include "server/rpc/malformed_requests.h"

#include <gmock/gmock.h>
#include <grpcpp/impl/codegen/client_unary_call.h>

#include "tests/server/service_rig.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

class MalformedRequestTest : public ServiceTest {
 protected:
  // A unary call of a client that sends what it likes.
  grpc::Status Send(const std::string& name, const std::string& bytes) {
    const std::string path = "/chela.v1.GenerationService/" + name;
    const grpc::internal::RpcMethod method(
        path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC, channel_);
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    return grpc::internal::BlockingUnaryCall(channel_.get(), method, &context,
                                             request, &response);
  }
};

TEST_F(MalformedRequestTest, IsAnInvalidArgumentOfEveryMethod) {
  Serve();
  for (const char* name : {"Generate", "GenerateStream", "Score", "Tokenize",
                           "Detokenize", "GetModelInfo", "GetLoad"}) {
    const grpc::Status status = Send(name, "\xff\xff\xff");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    EXPECT_THAT(status.error_message(), HasSubstr("cannot be decoded"));
  }
  EXPECT_THAT(metrics_.Render(),
              ::testing::AllOf(
                  HasSubstr("code=\"INVALID_ARGUMENT\",rpc=\"generate\"} 1"),
                  HasSubstr("code=\"INVALID_ARGUMENT\",rpc=\"get_load\"} 1"),
                  HasSubstr("reason=\"invalid\"} 7")));
}

TEST_F(MalformedRequestTest, IncludesAPromptThatIsNoUtf8) {
  Serve();
  // Field 1, the prompt, of two bytes.
  EXPECT_EQ(Send("Generate", "\x0a\x02\xff\xfe").error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(MalformedRequestTest, LeavesAMethodThatDoesNotExistUnimplemented) {
  Serve();
  EXPECT_EQ(Send("Nothing", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(RpcLabelTest, IsTheMethodInSnakeCase) {
  EXPECT_EQ(RpcLabel("/chela.v1.GenerationService/GetModelInfo"),
            "get_model_info");
  EXPECT_EQ(RpcLabel("/chela.v1.GenerationService/Score"), "score");
}

}  // namespace
}  // namespace chela
