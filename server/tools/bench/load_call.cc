#include "server/tools/bench/load_call.h"

#include <utility>

namespace chela::bench {
namespace {

double Seconds(LoadCall::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void LoadCall::Start(v1::GenerationService::Stub& stub,
                     const v1::GenerateStreamRequest& request,
                     Clock::time_point arrival, Clock::duration timeout,
                     std::function<void(CallResult)> done) {
  auto* call = new LoadCall(request, arrival, std::move(done));
  call->context_.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
  stub.async()->GenerateStream(&call->context_, &call->request_, call);
  call->StartRead(&call->response_);
  call->StartCall();
}

void LoadCall::OnReadDone(bool ok) {
  if (!ok) return;
  const auto now = Clock::now();
  const int tokens = response_.tokens().ids_size();
  if (tokens > 0) {
    int waited = tokens;
    if (result_.generated_tokens == 0) {
      result_.time_to_first_token_seconds = Seconds(now - arrival_);
      // Tokens that came with the first were waited for together with it.
      last_token_ = now;
      --waited;
    }
    for (int i = 0; i < waited; ++i) {
      result_.inter_token_seconds.push_back(Seconds(now - last_token_) /
                                            tokens);
    }
    last_token_ = now;
    result_.generated_tokens += tokens;
  }
  if (response_.has_finish()) {
    result_.finished = true;
    result_.prompt_tokens = response_.finish().usage().prompt_tokens();
  }
  StartRead(&response_);
}

void LoadCall::OnDone(const grpc::Status& status) {
  result_.status = status;
  result_.end_to_end_seconds = Seconds(Clock::now() - arrival_);
  done_(std::move(result_));
  delete this;
}

}  // namespace chela::bench
