#ifndef CHELA_SERVER_RPC_GENERATE_REACTORS_H_
#define CHELA_SERVER_RPC_GENERATE_REACTORS_H_

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "chela/v1/generation.pb.h"
#include "server/rpc/generation_reactor.h"

namespace chela {

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
