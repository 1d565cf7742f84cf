#ifndef CHELA_TESTS_SERVER_CONVERT_RIG_H_
#define CHELA_TESTS_SERVER_CONVERT_RIG_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "server/rpc/convert.h"
#include "tests/support/tiny_model.h"

namespace chela {

// Of the tiny model: bytes, BOS 256, EOS 257.
class ConvertTest : public ::testing::Test {
 protected:
  ConvertTest()
      : tokenizer_(
            *Tokenizer::Load(model_.directory(), test_support::TinyConfig())) {
    context_.tokenizer = tokenizer_.get();
  }

  absl::StatusOr<GenerateJob> Convert(const v1::GenerateRequest& request) {
    return ToGenerateJob(request, context_, "");
  }
  static std::vector<std::string> WrongFields(const absl::Status& status) {
    google::rpc::BadRequest details;
    const auto payload =
        status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
    EXPECT_TRUE(payload.has_value());
    if (payload.has_value()) details.ParseFromString(std::string(*payload));
    std::vector<std::string> fields;
    for (const auto& one : details.field_violations()) {
      EXPECT_THAT(one.description(), ::testing::HasSubstr("want"));
      fields.push_back(one.field());
    }
    return fields;
  }

  test_support::TinyModel model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ConvertContext context_;
};

}  // namespace chela

#endif  // CHELA_TESTS_SERVER_CONVERT_RIG_H_
