#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rpc/convert.h"
#include "tests/server/convert_rig.h"

namespace chela {
namespace {

using ::testing::ElementsAre;

using ConvertScoreTest = ConvertTest;

TEST_F(ConvertScoreTest, ScoresContinuationsAfterThePrefixWithBos) {
  v1::ScoreRequest request;
  request.set_prefix("a");
  request.add_continuations()->set_text("b");
  request.add_continuations()->mutable_tokens()->add_ids(3);

  const auto tokens = ToScoreTokens(request, context_);

  ASSERT_TRUE(tokens.ok());
  EXPECT_THAT(tokens->prefix, ElementsAre(256, 'a'));
  EXPECT_THAT(tokens->continuations,
              ElementsAre(ElementsAre('b'), ElementsAre(3)));
}

TEST_F(ConvertScoreTest, RefusesScoresWithoutContinuationsOrWithEmptyOnes) {
  EXPECT_THAT(WrongFields(ToScoreTokens({}, context_).status()),
              ElementsAre("continuations"));
  v1::ScoreRequest request;
  request.add_continuations()->set_text("");
  request.add_continuations();
  EXPECT_THAT(WrongFields(ToScoreTokens(request, context_).status()),
              ElementsAre("continuations[0]", "continuations[1]"));
}

TEST_F(ConvertScoreTest, SumsTheLogProbabilitiesOfAContinuation) {
  const ScoreStream stream({256}, {{'a', 'b'}});
  ScoreStream::End end;
  end.continuations = {{-1.0f, -2.5f}};
  v1::ScoreResponse out;

  ToProto(stream, end, *tokenizer_, &out);

  EXPECT_EQ(out.scores(0).log_probability(), -3.5);
  EXPECT_EQ(out.scores(0).scored_tokens(), 2);
  EXPECT_EQ(out.scores(0).tokens(1).bytes(), "b");
}

TEST_F(ConvertScoreTest, DoesNotCountATokenWithoutContextAsScored) {
  const ScoreStream stream({}, {{'a', 'b'}});
  ScoreStream::End end;
  end.continuations = {{0.0f, -2.5f}};
  v1::ScoreResponse out;

  ToProto(stream, end, *tokenizer_, &out);

  EXPECT_EQ(out.scores(0).scored_tokens(), 1);
}

}  // namespace
}  // namespace chela
