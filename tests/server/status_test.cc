#include "server/rpc/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(StatusTest, TurnsEachCodeIntoTheSameOfGrpc) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "why");
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

TEST(StatusTest, NamesEachCodeAsGrpcDoes) {
  EXPECT_STREQ(StatusName(grpc::StatusCode::OK), "OK");
  EXPECT_STREQ(StatusName(grpc::StatusCode::RESOURCE_EXHAUSTED),
               "RESOURCE_EXHAUSTED");
  EXPECT_STREQ(StatusName(static_cast<grpc::StatusCode>(99)), "UNKNOWN");
}

TEST(StatusTest, SendsBadRequestInTheDetails) {
  FieldErrors errors("request.");
  errors.Add("a.b", "3; want 4");
  const grpc::Status status = ToGrpc(errors.ToStatus());

  const google::rpc::Status details = Details(status);
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.code(), 3);
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "request.a.b");
  EXPECT_EQ(bad.field_violations(0).description(), "3; want 4");
  EXPECT_THAT(status.error_message(), HasSubstr("request.a.b: 3; want 4"));
}

TEST(StatusTest, TellsWhenToRetryWhateverIsExhausted) {
  const google::rpc::Status details =
      Details(ToGrpc(absl::ResourceExhaustedError("full")));

  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
}

TEST(StatusTest, StaysBelowTheTrailerLimitHoweverMuchIsWrong) {
  FieldErrors errors;
  for (int i = 0; i < 5000; ++i) {
    errors.Add("continuations[" + std::to_string(i) + "]", "0; want 1");
  }
  const grpc::Status status = ToGrpc(errors.ToStatus());

  EXPECT_LT(status.error_details().size() + status.error_message().size(),
            7500u);
  google::rpc::BadRequest bad;
  ASSERT_TRUE(Details(status).details(0).UnpackTo(&bad));
  EXPECT_THAT(bad.field_violations().rbegin()->description(),
              HasSubstr("more fields are wrong"));
}

TEST(StatusTest, IsOkWithoutErrors) {
  EXPECT_TRUE(FieldErrors().ToStatus().ok());
}

}  // namespace
}  // namespace chela
