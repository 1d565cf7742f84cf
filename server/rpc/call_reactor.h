#ifndef CHELA_SERVER_RPC_CALL_REACTOR_H_
#define CHELA_SERVER_RPC_CALL_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "server/rpc/call.h"
#include "server/rpc/delivery.h"

namespace chela {

// Inputs above this are tokenised on a worker: a callback of gRPC must not
// take longer than 1 ms, and there are only max(2, cores / 2) threads for all.
inline constexpr int64_t kInlineInputBytes = 16384;

// What the reactors of our calls share: they own themselves from StartCall to
// OnDone, they finish exactly once, and whoever else holds on to one (the
// engine's callback, a worker's task, the delivery thread) holds a pointer
// that keeps it alive or notices its end.
template <typename Base>
class CallReactor : public Base,
                    public Recipient,
                    public std::enable_shared_from_this<CallReactor<Base>> {
 public:
  void OnDone() final {
    OnEnded();
    self_.reset();
  }

 protected:
  CallReactor(const RpcRuntime& runtime, const char* rpc,
              grpc::CallbackServerContext* context)
      : call_(runtime, rpc, context) {}

  // The call is over. Whether the client saw its end is known only now.
  virtual void OnEnded() {}

  Call& call() { return call_; }
  bool finished() const { return finished_.load(); }

  // Ends the call; only the first one counts.
  void FinishCall(const absl::Status& status) {
    if (!finished_.exchange(true)) this->Finish(call_.End(status));
  }
  // The same for a refusal made here and not by the engine.
  void Refuse(const absl::Status& status) {
    call_.Refused(status);
    FinishCall(status);
  }
  // For those that finish by another operation than Finish: true once.
  bool ClaimFinish() { return !finished_.exchange(true); }

  // What the engine's streams call when they have news.
  std::function<void()> Notifier() {
    return [self = std::weak_ptr<Recipient>(this->shared_from_this()),
            delivery = call_.runtime().delivery] { delivery->Notify(self); };
  }

  // Runs `work`, which may block, on a worker; refuses the call if their queue
  // is full.
  void RunOnWorker(std::function<void()> work) {
    const bool taken = call_.runtime().workers->TrySubmit(
        [self = this->shared_from_this(), work = std::move(work)] { work(); });
    if (!taken) {
      Refuse(absl::ResourceExhaustedError(
          "the queue of --rpc-workers is full; try later"));
    }
  }
  // Runs `work` here if the input is small, else on a worker; refuses the call
  // if the workers' queue is full.
  void RunBySize(int64_t bytes, std::function<void()> work) {
    if (bytes <= kInlineInputBytes) {
      work();
      return;
    }
    RunOnWorker(std::move(work));
  }

 private:
  template <typename Reactor, typename... Args>
  friend Reactor* StartCall(Args&&... args);

  Call call_;
  std::atomic<bool> finished_{false};
  std::shared_ptr<void> self_;  // until OnDone
};

// Makes a reactor and starts it. For methods of the service to return.
template <typename Reactor, typename... Args>
Reactor* StartCall(Args&&... args) {
  auto reactor = std::make_shared<Reactor>(std::forward<Args>(args)...);
  reactor->self_ = reactor;
  reactor->Start();
  return reactor.get();
}

}  // namespace chela

#endif  // CHELA_SERVER_RPC_CALL_REACTOR_H_
