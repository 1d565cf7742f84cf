// The same requests in ever other company give the same bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/server_rig.h"

namespace chela {
namespace {

constexpr int kRequests = 200;
constexpr int kClients = 24;

// Of all fields, each in many combinations: decided by i alone.
v1::GenerateRequest MixedRequest(uint32_t i) {
  std::mt19937 random(i);
  const auto one_in = [&random](uint32_t n) { return random() % n == 0; };
  v1::GenerateRequest request;
  std::string prompt;
  for (uint32_t size = random() % (one_in(10) ? 900 : 60); size > 0; --size) {
    prompt += static_cast<char>('a' + random() % 26);
  }
  request.set_prompt(prompt);
  request.set_priority(static_cast<int32_t>(random() % 5) - 2);
  v1::SamplingParams& sampling = *request.mutable_sampling();
  sampling.set_seed(random());
  sampling.set_max_tokens(1 + static_cast<int32_t>(random() % 40));
  if (one_in(4)) sampling.set_min_tokens(sampling.max_tokens() / 2);
  if (one_in(2)) sampling.set_temperature(0.25 * (random() % 8));
  if (one_in(3)) sampling.set_top_k(static_cast<int32_t>(random() % 60));
  if (one_in(3)) sampling.set_top_p(0.1 * (1 + random() % 10));
  if (one_in(4)) sampling.set_min_p(0.02 * (random() % 10));
  if (one_in(4)) sampling.set_typical_p(0.1 * (1 + random() % 10));
  if (one_in(4)) sampling.set_repetition_penalty(0.8 + 0.1 * (random() % 8));
  if (one_in(4)) sampling.set_presence_penalty(0.5 * (random() % 5) - 1);
  if (one_in(4)) sampling.set_frequency_penalty(0.5 * (random() % 5) - 1);
  if (one_in(4)) sampling.set_penalty_window(1 + random() % 30);
  if (one_in(3)) sampling.add_stop(std::string(1, 'a' + random() % 26));
  if (one_in(5)) sampling.add_stop_token_ids(random() % 256);
  sampling.set_include_stop(one_in(2));
  sampling.set_ignore_eos(one_in(2));
  if (one_in(5)) (*sampling.mutable_logit_bias())[random() % 256] = 3;
  if (one_in(6)) {
    for (int token = 0; token < 128; ++token) {
      sampling.add_allowed_token_ids(token);
    }
  }
  if (one_in(5)) sampling.add_banned_token_ids(random() % 256);
  if (one_in(4)) sampling.set_logprobs(random() % 4);
  if (one_in(6)) sampling.set_prompt_logprobs(random() % 3);
  sampling.set_echo(one_in(4));
  if (one_in(3)) sampling.set_n(1 + static_cast<int32_t>(random() % 5));
  if (one_in(5)) {
    sampling.set_best_of(std::max(sampling.n(), 1) +
                         static_cast<int32_t>(random() % 3));
  }
  return request;
}

// Everything but the clock's part, as one string; of a stream whatever its
// messages were cut into.
class Answer {
 public:
  template <typename Message>
  void Add(int choice, const Message& message) {
    v1::Choice& into = choices_[choice];
    into.mutable_text()->append(message.text());
    into.mutable_tokens()->MergeFrom(message.tokens());
    into.mutable_logprobs()->MergeFrom(message.logprobs());
    if (!message.has_finish()) return;
    *into.mutable_finish() = message.finish();
    if (!message.finish().has_usage()) return;
    prompt_tokens_ = message.finish().usage().prompt_tokens();
    generated_tokens_ = message.finish().usage().generated_tokens();
    into.mutable_finish()->clear_usage();
  }
  template <typename Message>
  void AddPrompt(const Message& message) {
    prompt_.mutable_logprobs()->MergeFrom(message.prompt_logprobs());
  }
  std::string Bytes() const {
    std::string bytes = prompt_.SerializeAsString() +
                        std::to_string(prompt_tokens_) + " " +
                        std::to_string(generated_tokens_);
    for (const auto& [index, choice] : choices_) {
      bytes += std::to_string(index) + choice.SerializeAsString();
    }
    return bytes;
  }

 private:
  std::map<int, v1::Choice> choices_;
  v1::Choice prompt_;
  int prompt_tokens_ = 0;
  int generated_tokens_ = 0;
};

std::string AskUnary(ServerRig& rig, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = rig.stub().Generate(&context, request, &response);
  if (!status.ok()) return "failed: " + status.error_message();
  Answer answer;
  answer.AddPrompt(response);
  for (int i = 1; i < response.choices_size(); ++i) {
    answer.Add(i, response.choices(i));
  }
  answer.Add(0, response);
  return answer.Bytes();
}

std::string AskStream(ServerRig& rig, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateStreamRequest wrapped;
  *wrapped.mutable_request() = request;
  const auto reader = rig.stub().GenerateStream(&context, wrapped);
  Answer answer;
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    answer.AddPrompt(message);
    answer.Add(message.choice(), message);
  }
  const grpc::Status status = reader->Finish();
  return status.ok() ? answer.Bytes() : "failed: " + status.error_message();
}

// All requests in an order and a concurrency that `seed` decides, every other
// one as a stream.
std::vector<std::string> RunAll(ServerRig& rig, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> order(kRequests);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<std::string> answers(kRequests);
  std::atomic<size_t> next{0};
  std::vector<std::thread> clients;
  for (uint32_t client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 pause(seed * 1000 + client);
      for (size_t at = next++; at < order.size(); at = next++) {
        std::this_thread::sleep_for(std::chrono::microseconds(pause() % 3000));
        const uint32_t i = order[at];
        answers[i] = (i + seed) % 2 == 0 ? AskUnary(rig, MixedRequest(i))
                                         : AskStream(rig, MixedRequest(i));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  return answers;
}

TEST(RepeatabilityTest, TwoHundredMixedRequestsGiveTheSameBytesThreeTimes) {
  std::vector<std::string> first;
  for (uint32_t run = 0; run < 3; ++run) {
    ServerConfig config;
    // Other slots, other chunks beside other tokens, other threads.
    config.max_sequences = run == 0 ? 64 : run == 1 ? 9 : 24;
    config.threads = run == 1 ? 2 : 1;
    config.max_batch_tokens = run == 2 ? 256 : 512;
    ServerRig rig(config);
    const std::vector<std::string> answers = RunAll(rig, run);
    if (run == 0) first = answers;
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i].rfind("failed", 0), std::string::npos)
          << i << ": " << answers[i];
      EXPECT_TRUE(answers[i] == first[i]) << "run " << run << ", request " << i;
    }
    EXPECT_EQ(rig.GetLoad().state_slots_free(), config.max_sequences);
  }
}

}  // namespace
}  // namespace chela
