#include <gtest/gtest.h>

#include <string>

#include "tests/integration/server_rig.h"

namespace chela {
namespace {

// The log-probability of `text` by ScoreStream in pieces of `piece` bytes.
v1::ScoreStreamResponse ScoreInPieces(ServerRig& rig, const std::string& text,
                                      size_t piece) {
  grpc::ClientContext context;
  v1::ScoreStreamResponse response;
  const auto writer = rig.stub().ScoreStream(&context, &response);
  for (size_t at = 0; at < text.size(); at += piece) {
    v1::ScoreStreamRequest request;
    request.set_text(text.substr(at, piece));
    EXPECT_TRUE(writer->Write(request));
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

TEST(ScoreTest, ScoresAStreamLikeAContinuationHoweverItIsCut) {
  ServerRig rig;
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "caf\xc3\xa9 " + std::to_string(i) + "\n";
  v1::ScoreRequest request;
  request.add_continuations()->set_text(text);
  grpc::ClientContext context;
  v1::ScoreResponse whole;
  ASSERT_TRUE(rig.stub().Score(&context, request, &whole).ok());
  EXPECT_EQ(whole.scores(0).scored_tokens(), static_cast<int>(text.size()));

  // Other splits of the text: relative 1e-5 of logits of ordinary size, a
  // token, twice (the token's and the normaliser's).
  const double tolerance = 2e-5 * 16 * static_cast<double>(text.size());
  for (const size_t piece : {size_t{4}, size_t{97}, text.size()}) {
    const v1::ScoreStreamResponse got = ScoreInPieces(rig, text, piece);
    EXPECT_EQ(got.bytes(), static_cast<int64_t>(text.size()));
    EXPECT_EQ(got.tokens(), static_cast<int64_t>(text.size()));
    EXPECT_EQ(got.scored_tokens(), got.tokens());
    EXPECT_NEAR(got.log_probability(), whole.scores(0).log_probability(),
                tolerance);
  }
}

TEST(ScoreTest, RanksContinuationsIndependentlyOfEachOther) {
  ServerRig rig;
  v1::ScoreRequest request;
  request.set_prefix("the quick ");
  for (const char* text : {"brown", "red", "x"}) {
    request.add_continuations()->set_text(text);
  }
  grpc::ClientContext context;
  v1::ScoreResponse together;
  ASSERT_TRUE(rig.stub().Score(&context, request, &together).ok());
  ASSERT_EQ(together.scores_size(), 3);
  for (int i = 0; i < 3; ++i) {
    v1::ScoreRequest one = request;
    one.clear_continuations();
    *one.add_continuations() = request.continuations(i);
    grpc::ClientContext again;
    v1::ScoreResponse alone;
    ASSERT_TRUE(rig.stub().Score(&again, one, &alone).ok());
    EXPECT_EQ(alone.scores(0).log_probability(),
              together.scores(i).log_probability());
  }
}

}  // namespace
}  // namespace chela
