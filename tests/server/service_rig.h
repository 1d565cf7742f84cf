#ifndef CHELA_TESTS_SERVER_SERVICE_RIG_H_
#define CHELA_TESTS_SERVER_SERVICE_RIG_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "chela/v1/generation.grpc.pb.h"
#include "server/engine/score_stream.h"
#include "server/engine/token_stream.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/grpc_server.h"
#include "tests/support/tiny_model.h"

namespace chela {

inline constexpr std::chrono::seconds kPatience{20};

// True once the condition holds, false after kPatience.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto until = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// Takes jobs and does nothing with them: the test is the engine.
class FakeEngine : public Engine {
 public:
  absl::Status Submit(GenerateJob job) override {
    std::lock_guard lock(mutex_);
    if (refusal_.ok()) generations_.push_back(std::move(job));
    changed_.notify_all();
    return refusal_;
  }
  absl::Status Submit(ScoreJob job) override {
    std::lock_guard lock(mutex_);
    if (refusal_.ok()) scores_.push_back(std::move(job));
    changed_.notify_all();
    return refusal_;
  }
  EngineLoad Load() const override {
    return {.running = 1,
            .waiting = 2,
            .queued_tokens = 3,
            .slots_total = 4,
            .slots_free = 3,
            .slot_bytes = 5};
  }
  void Drain() override {}
  bool WaitIdle(Clock::time_point) override { return true; }
  void Stop() override {}

  void Refuse(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    refusal_ = status;
  }
  GenerateJob NextGeneration() { return Next(generations_); }
  ScoreJob NextScore() { return Next(scores_); }

 private:
  template <typename Job>
  Job Next(std::deque<Job>& jobs) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, kPatience, [&] { return !jobs.empty(); }));
    Job job = std::move(jobs.front());
    jobs.pop_front();
    return job;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status refusal_;
  std::deque<GenerateJob> generations_;
  std::deque<ScoreJob> scores_;
};

// What the engine does: tokens that are the text's bytes, and the end.
inline void Push(const GenerateJob& job, const std::string& text) {
  GenerationDelta delta;
  delta.text = text;
  for (const char c : text) {
    SampledToken token;
    token.token = c;
    delta.tokens.push_back(token);
  }
  job.stream->Push(std::move(delta));
}

inline void Close(const GenerateJob& job, FinishReason reason,
                  const absl::Status& status = absl::OkStatus()) {
  GenerationEnd end;
  end.reason = reason;
  end.status = status;
  job.stream->Close(std::move(end));
}

// The service behind a real port, before a FakeEngine.
class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest()
      : tokenizer_(
            *Tokenizer::Load(model_.directory(), test_support::TinyConfig())),
        service_({.workers = 1, .log_content = false}, metrics_) {
    served_.engine = &engine_;
    served_.convert.tokenizer = tokenizer_.get();
    served_.info.set_model("fake");
    server_ = *GrpcServer::Start({.listen = {"127.0.0.1", 0}}, service_,
                                 session_service_);
    channel_ = grpc::CreateChannel(server_->address().ToString(),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::GenerationService::NewStub(channel_);
  }
  void Serve() { service_.Serve(served_); }

  static v1::GenerateStreamRequest Request(const std::string& prompt) {
    v1::GenerateStreamRequest request;
    request.mutable_request()->set_prompt(prompt);
    return request;
  }

  test_support::TinyModel model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Metrics metrics_{"fake"};
  FakeEngine engine_;
  ServedModel served_;
  GenerationService service_;
  SessionService session_service_{service_.runtime()};
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
  grpc::ClientContext context_;
};

}  // namespace chela

#endif  // CHELA_TESTS_SERVER_SERVICE_RIG_H_
