#ifndef CHELA_SERVER_RPC_GENERATE_REACTORS_H_
#define CHELA_SERVER_RPC_GENERATE_REACTORS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "chela/v1/generation.pb.h"
#include "server/engine/token_stream.h"
#include "server/rpc/call_reactor.h"
#include "server/rpc/generation_turn.h"

namespace chela {

// Submits a generation and cancels it with the call: what Generate and
// GenerateStream have in common.
//
// A turn of a session commits before the call's status is sent. If the client
// turns out to have been gone by then, the revision is taken back: a client
// that repeats a call that it saw no end of never finds its turn made twice.
template <typename Base>
class GenerationReactor : public CallReactor<Base> {
 public:
  void OnCancel() final {
    // gRPC also cancels at the deadline, which the engine sees by itself and
    // then counts as one.
    if (!this->call().DeadlinePassed()) stream_->Cancel();
  }

 protected:
  GenerationReactor(const RpcRuntime& runtime, const char* rpc,
                    grpc::CallbackServerContext* context)
      : CallReactor<Base>(runtime, rpc, context), context_(context) {}
  void OnEnded() final;

  // `prefix` stands before the paths of wrong fields.
  void StartGeneration(const v1::GenerateRequest& request,
                       const std::string& prefix);

  TokenStream& stream() { return *stream_; }
  uint64_t seed() const { return seed_; }
  // What stands before each choice's text.
  const std::string& echo() const { return echo_; }
  int32_t choices() const { return choices_; }
  // Adds a delta to a message that has a choice's fields.
  template <typename Message>
  void Append(const GenerationDelta& delta, Message* out) const;
  const Tokenizer& tokenizer() const { return *model_->convert.tokenizer; }
  // Notes what the log line says about the end; the call's status.
  absl::Status TakeEnd(const GenerationEnd& end);
  void NoteText(const std::string& text);

  // Whether the end's state is to be committed before the call ends.
  bool CommitsTurn(const absl::Status& status) const {
    return status.ok() && turn_.keeps_state();
  }
  // Commits it on a worker, then calls `done` there.
  using TurnResult = absl::StatusOr<GenerationTurn::Result>;
  void CommitTurn(const SequenceStatePtr& state,
                  std::function<void(const TurnResult&)> done);
  // The session is as it was before.
  void AbandonTurn() { turn_.Abandon(); }
  template <typename Message>
  static void Append(const GenerationTurn::Result& turn, Message* out);

 private:
  void Submit(const v1::GenerateRequest& request, const std::string& prefix);

  absl::Status Prepare(const v1::GenerateRequest& request,
                       const std::string& prefix, GenerateJob& job);

  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<TokenStream> stream_ = std::make_shared<TokenStream>();
  GenerationTurn turn_;
  const ServedModel* model_ = nullptr;
  uint64_t seed_ = 0;
  bool logprobs_ = false;
  std::string echo_;
  int32_t choices_ = 1;
};

// Generate: collects until the end.
class GenerateReactor final
    : public GenerationReactor<grpc::ServerUnaryReactor> {
 public:
  GenerateReactor(const RpcRuntime& runtime,
                  grpc::CallbackServerContext* context,
                  const v1::GenerateRequest* request,
                  v1::GenerateResponse* response);
  void Start();
  void Deliver() override;

 private:
  void Take(const GenerationDelta& delta);
  void Complete(const GenerationEnd& end);

  const v1::GenerateRequest* const request_;
  v1::GenerateResponse* const response_;
  bool ended_ = false;  // the stream did; of the delivery thread
};

// The most tokens of a message, so that it stays far below the 4 MiB that
// clients take by default even with 20 log-probabilities a token, and quick to
// put together, however far its reader is behind.
inline constexpr size_t kMaxTokensOfMessage = 1024;

// The most bytes of an echoed prompt in a message, for the same reason.
inline constexpr size_t kMaxEchoOfMessage = size_t{1} << 20;

// GenerateStream: one write in flight; what comes meanwhile goes into the next.
class GenerateStreamReactor final
    : public GenerationReactor<
          grpc::ServerWriteReactor<v1::GenerateStreamResponse>> {
 public:
  GenerateStreamReactor(const RpcRuntime& runtime,
                        grpc::CallbackServerContext* context,
                        const v1::GenerateStreamRequest* request);
  void Start();
  void Deliver() override;
  void OnWriteDone(bool ok) override;

 private:
  GenerationDelta NextDelta();
  GenerationDelta NextEcho(int32_t choice);
  void FinishStream(const GenerationEnd& end);
  void SendLast(const absl::Status& status);

  const v1::GenerateStreamRequest* const request_;
  std::mutex mutex_;  // of what follows
  bool writing_ = false;
  bool broken_ = false;         // the client takes no more
  GenerationDelta rest_;        // popped, but too much for one message
  std::vector<size_t> echoed_;  // bytes of echo() sent, of each choice
  v1::GenerateStreamResponse response_;
  std::string text_;  // all of it, only with --log-content
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_GENERATE_REACTORS_H_
