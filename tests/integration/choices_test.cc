// Several choices, echo and scores of any length, over the wire.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/programs_rig.h"
#include "tests/integration/server_rig.h"

namespace chela {
namespace {

v1::GenerateRequest SomeChoices(int n, int best_of) {
  v1::GenerateRequest request = Continue("hello", 20);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(11);
  request.mutable_sampling()->set_n(n);
  request.mutable_sampling()->set_best_of(best_of);
  return request;
}

v1::GenerateResponse Unary(ServerRig& rig, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = rig.stub().Generate(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

std::vector<v1::GenerateStreamResponse> Messages(
    ServerRig& rig, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateStreamRequest wrapped;
  *wrapped.mutable_request() = request;
  const auto reader = rig.stub().GenerateStream(&context, wrapped);
  std::vector<v1::GenerateStreamResponse> messages(1);
  while (reader->Read(&messages.back())) messages.emplace_back();
  messages.pop_back();
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return messages;
}

TEST(ChoicesTest, AnswersASingleChoiceWithoutAList) {
  ServerRig rig;
  EXPECT_EQ(Unary(rig, Continue("hello", 3)).choices_size(), 0);
}

TEST(ChoicesTest, ListsAllChoicesAndTheFirstOnItsOwn) {
  ServerRig rig;
  const v1::GenerateResponse all = Unary(rig, SomeChoices(3, 3));
  ASSERT_EQ(all.choices_size(), 3);
  EXPECT_EQ(all.text(), all.choices(0).text());
  EXPECT_EQ(all.tokens().ids_size(), 20);
  EXPECT_EQ(all.finish().usage().prompt_tokens(), 6);
  EXPECT_EQ(all.finish().usage().generated_tokens(), 60);
  EXPECT_FALSE(all.choices(0).finish().has_usage());
  EXPECT_NE(all.choices(1).text(), all.choices(2).text());
  // Branch 0 of the seed: what a single choice gives.
  EXPECT_EQ(Unary(rig, SomeChoices(1, 1)).text(), all.text());
}

TEST(ChoicesTest, StreamsEachChoiceUnderItsIndex) {
  ServerRig rig;
  for (const int best_of : {3, 5}) {
    const v1::GenerateResponse unary = Unary(rig, SomeChoices(3, best_of));
    const auto messages = Messages(rig, SomeChoices(3, best_of));
    std::map<int, v1::Choice> got;
    for (const v1::GenerateStreamResponse& message : messages) {
      v1::Choice& choice = got[message.choice()];
      EXPECT_FALSE(choice.has_finish()) << "news of a choice after its finish";
      choice.mutable_text()->append(message.text());
      if (message.has_finish()) *choice.mutable_finish() = message.finish();
      EXPECT_EQ(message.finish().has_usage(), &message == &messages.back());
    }
    ASSERT_EQ(got.size(), 3u);
    for (const auto& [index, choice] : got) {
      EXPECT_EQ(choice.text(), unary.choices(index).text());
      EXPECT_EQ(choice.finish().reason(), v1::FINISH_REASON_LENGTH);
    }
    EXPECT_EQ(messages.back().finish().usage().generated_tokens(),
              20 * best_of);
  }
}

TEST(ChoicesTest, EchoesThePromptBeforeEachChoice) {
  ServerRig rig;
  v1::GenerateRequest request = SomeChoices(2, 2);
  const v1::GenerateResponse plain = Unary(rig, request);
  request.mutable_sampling()->set_echo(true);
  const v1::GenerateResponse echoed = Unary(rig, request);
  for (const int i : {0, 1}) {
    EXPECT_EQ(echoed.choices(i).text(),
              absl::StrCat("hello", plain.choices(i).text()));
    EXPECT_EQ(echoed.choices(i).tokens().ids_size(), 20) << "generated only";
  }
}

TEST(ChoicesTest, CutsALongEchoIntoMessagesThatEveryClientTakes) {
  // Two-byte characters at an odd offset; clients take 4 MiB by default.
  std::string prompt(1, 'x');
  while (prompt.size() < size_t{5} << 20) prompt += "\xc3\xa9";
  ServerConfig config;
  config.max_prompt_tokens = 8 << 20;
  ServerRig wide(config);
  v1::GenerateRequest big = Continue(prompt, 2);
  big.mutable_sampling()->set_echo(true);
  std::string text;
  for (const auto& message : Messages(wide, big)) {
    EXPECT_LE(message.text().size(), size_t{1} << 20);
    text += message.text();
  }
  EXPECT_EQ(text.compare(0, prompt.size(), prompt), 0);
}

TEST(ChoicesTest, StreamsThePromptsLogprobsBeforeTheText) {
  ServerRig rig;
  v1::GenerateRequest request = Continue(std::string(3000, 'q'), 3);
  request.mutable_sampling()->set_prompt_logprobs(1);
  int entries = 0;
  for (const auto& message : Messages(rig, request)) {
    EXPECT_LE(message.prompt_logprobs_size(), 1024);
    entries += message.prompt_logprobs_size();
    if (message.tokens().ids_size() > 0) {
      EXPECT_EQ(entries, 3001);
    }
  }
  EXPECT_EQ(entries, 3001);
}

class ScoreMemoryTest : public ProgramsTest {
 protected:
  // Resident bytes of the server.
  int64_t Resident() const {
    std::ifstream file(absl::StrCat("/proc/", server_->pid(), "/statm"));
    int64_t size = 0;
    int64_t resident = 0;
    file >> size >> resident;
    return resident * 4096;
  }
};

TEST_F(ScoreMemoryTest, ScoresTwoMillionTokensInSteadyMemory) {
  StartServer();
  const auto stub = v1::GenerationService::NewStub(
      grpc::CreateChannel(target_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::ScoreStreamResponse response;
  const auto writer = stub->ScoreStream(&context, &response);
  constexpr int kPieces = 2048;
  v1::ScoreStreamRequest piece;
  piece.set_text(std::string(1024, 'm'));
  // The most of the first and of the second million: by then the backlog and
  // gRPC's windows have been full.
  int64_t first = 0;
  int64_t second = 0;
  for (int i = 0; i < kPieces; ++i) {
    ASSERT_TRUE(writer->Write(piece));
    int64_t& most = i < kPieces / 2 ? first : second;
    most = std::max(most, Resident());
  }
  writer->WritesDone();
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.scored_tokens(), kPieces * 1024);
  std::printf("resident: at most %.2f MB, then %.2f MB\n",
              static_cast<double>(first) / 1e6,
              static_cast<double>(second) / 1e6);
  // Half of the text's own megabyte, let alone 4 of tokens.
  EXPECT_LT(second - first, 500'000);
}

}  // namespace
}  // namespace chela
