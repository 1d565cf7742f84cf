#ifndef CHELA_SERVER_RPC_SESSION_REACTORS_H_
#define CHELA_SERVER_RPC_SESSION_REACTORS_H_

#include <functional>
#include <string>
#include <vector>

#include "chela/v1/session.pb.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call_reactor.h"
#include "server/session/session_registry.h"

namespace chela {

// A method with one request and one answer: `work` runs on a worker. Request
// and response are gRPC's until the call's end.
class SessionReactor final : public CallReactor<grpc::ServerUnaryReactor> {
 public:
  using Work = std::function<absl::Status(SessionRegistry& sessions)>;
  SessionReactor(const RpcRuntime& runtime, const char* rpc,
                 grpc::CallbackServerContext* context, std::string session,
                 Work work);
  void Start();
  void Deliver() override {}

 private:
  const std::string session_;  // for the log line
  const Work work_;
};

// ExportSession: encodes on a worker, then writes piece by piece.
class ExportReactor final
    : public CallReactor<grpc::ServerWriteReactor<v1::ExportSessionResponse>> {
 public:
  ExportReactor(const RpcRuntime& runtime, grpc::CallbackServerContext* context,
                const v1::ExportSessionRequest* request,
                std::shared_ptr<ByteBudget> budget);
  void Start();
  void OnWriteDone(bool ok) override;
  void Deliver() override {}

 private:
  absl::Status Encode();
  void WriteNext();

  const v1::ExportSessionRequest* const request_;
  const ServedModel* model_ = nullptr;
  ByteBudget::Share share_;
  std::string snapshot_;
  size_t sent_ = 0;  // bytes of it
  v1::ExportSessionResponse response_;
};

// ImportSession: collects the pieces, no more bytes than a state can have, then
// decodes and keeps them on a worker.
class ImportReactor final
    : public CallReactor<grpc::ServerReadReactor<grpc::ByteBuffer>> {
 public:
  ImportReactor(const RpcRuntime& runtime, grpc::CallbackServerContext* context,
                grpc::ByteBuffer* response, std::shared_ptr<ByteBudget> budget);
  void Start();
  void OnReadDone(bool ok) override;
  void Deliver() override {}

 private:
  absl::Status TakeMessage();
  // Takes the message's piece; an error if it is one too many.
  absl::Status TakeChunk(std::string& chunk);
  absl::Status TooLong(const std::string& chunk) const;
  absl::Status Import();

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const ServedModel* model_ = nullptr;
  grpc::ByteBuffer message_;
  v1::SessionSettings settings_;
  bool started_ = false;
  ByteBudget::Share share_;
  std::vector<std::string> pieces_;
  size_t bytes_ = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_SESSION_REACTORS_H_
