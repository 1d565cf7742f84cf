#ifndef CHELA_SERVER_RPC_SCORE_REACTORS_H_
#define CHELA_SERVER_RPC_SCORE_REACTORS_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "chela/v1/generation.pb.h"
#include "server/engine/score_stream.h"
#include "server/rpc/call_reactor.h"

namespace chela {

// Score: all of the request is known at the start.
class ScoreReactor final : public CallReactor<grpc::ServerUnaryReactor> {
 public:
  ScoreReactor(const RpcRuntime& runtime, grpc::CallbackServerContext* context,
               const v1::ScoreRequest* request, v1::ScoreResponse* response);
  void Start();
  void Deliver() override;
  void OnCancel() override;

 private:
  void Submit();
  void Answer(const ScoreStream::End& end);

  const v1::ScoreRequest* const request_;
  v1::ScoreResponse* const response_;
  const ServedModel* model_ = nullptr;
  std::mutex mutex_;  // of what follows
  std::shared_ptr<ScoreStream> stream_;
  bool cancelled_ = false;
  bool answering_ = false;
};

// ScoreStream: reads a piece, tokenises what can be, and reads the next one
// only while the engine's backlog is low; so a text of any length needs
// constant memory, and gRPC's flow control slows the client down.
class ScoreStreamReactor final
    : public CallReactor<grpc::ServerReadReactor<grpc::ByteBuffer>> {
 public:
  ScoreStreamReactor(const RpcRuntime& runtime,
                     grpc::CallbackServerContext* context,
                     grpc::ByteBuffer* response);
  void Start();
  void OnReadDone(bool ok) override;
  void Deliver() override;
  void OnCancel() override;

 private:
  void TakePiece(bool last);
  // Ends the call from outside of Deliver; cancels what the engine has of it.
  void Abandon(const absl::Status& status);
  void Answer(const ScoreStream::End& end);
  std::vector<int32_t> TakeTokens(bool last);
  absl::Status SubmitOnce();
  void ReadOn();

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const ServedModel* model_ = nullptr;
  const std::shared_ptr<ScoreStream> stream_ = std::make_shared<ScoreStream>();

  // Of the one piece that is being taken: never used by two threads at once.
  grpc::ByteBuffer piece_;
  std::string carry_;         // text that is not yet tokens
  size_t look_again_at_ = 0;  // carry_ bytes
  bool started_ = false;      // tokens were made
  bool submitted_ = false;

  // Of the text. Another thread may end the call while a piece is taken.
  std::atomic<int64_t> bytes_{0};

  std::mutex mutex_;     // orders reads and the finish, and
  bool paused_ = false;  // no read is out, since the backlog is high
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_SCORE_REACTORS_H_
