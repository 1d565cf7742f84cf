#ifndef CHELA_SERVER_TOOLS_BENCH_LOAD_CALL_H_
#define CHELA_SERVER_TOOLS_BENCH_LOAD_CALL_H_

#include <chrono>
#include <functional>
#include <vector>

#include "chela/v1/generation.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace chela::bench {

// What one streaming generation looked like from outside.
struct CallResult {
  grpc::Status status;
  bool finished = false;  // the last message came
  double time_to_first_token_seconds = 0;
  double end_to_end_seconds = 0;
  // One entry a token after the first: the wait for its message, shared
  // equally by the tokens that came in it.
  std::vector<double> inter_token_seconds;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
};

// One GenerateStream call, from Start to the end of the stream. Deletes itself
// after `done`, which runs on a thread of gRPC.
class LoadCall final
    : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  using Clock = std::chrono::steady_clock;

  // `arrival` is when the request was due: what a client waited before it
  // could be sent counts as its latency.
  static void Start(v1::GenerationService::Stub& stub,
                    const v1::GenerateStreamRequest& request,
                    Clock::time_point arrival, Clock::duration timeout,
                    std::function<void(CallResult)> done);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  LoadCall(const v1::GenerateStreamRequest& request, Clock::time_point arrival,
           std::function<void(CallResult)> done)
      : request_(request), done_(std::move(done)), arrival_(arrival) {}

  grpc::ClientContext context_;
  v1::GenerateStreamRequest request_;
  v1::GenerateStreamResponse response_;
  std::function<void(CallResult)> done_;
  Clock::time_point arrival_;
  Clock::time_point last_token_;
  CallResult result_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_LOAD_CALL_H_
