#ifndef CHELA_SERVER_RPC_SESSION_SERVICE_H_
#define CHELA_SERVER_RPC_SESSION_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "chela/v1/session.grpc.pb.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call.h"

namespace chela {

// chela.v1.SessionService over the registry of the served model: each method
// makes the reactor of one call, whose work runs on a worker, since the
// registry's store may block. Answers UNAVAILABLE until the model is served.
//
// Threads: thread-safe. Must outlive the gRPC server's shutdown.
class SessionService final
    : public v1::SessionService::WithRawCallbackMethod_ImportSession<
          v1::SessionService::CallbackService> {
 public:
  // `runtime` must outlive it.
  explicit SessionService(const RpcRuntime& runtime) : runtime_(runtime) {}

  grpc::ServerUnaryReactor* CreateSession(
      grpc::CallbackServerContext* context,
      const v1::CreateSessionRequest* request,
      v1::CreateSessionResponse* response) override;
  grpc::ServerUnaryReactor* ForkSession(
      grpc::CallbackServerContext* context,
      const v1::ForkSessionRequest* request,
      v1::ForkSessionResponse* response) override;
  grpc::ServerUnaryReactor* RewindSession(
      grpc::CallbackServerContext* context,
      const v1::RewindSessionRequest* request,
      v1::RewindSessionResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSession(
      grpc::CallbackServerContext* context,
      const v1::DeleteSessionRequest* request,
      v1::DeleteSessionResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(
      grpc::CallbackServerContext* context,
      const v1::ListSessionsRequest* request,
      v1::ListSessionsResponse* response) override;
  grpc::ServerWriteReactor<v1::ExportSessionResponse>* ExportSession(
      grpc::CallbackServerContext* context,
      const v1::ExportSessionRequest* request) override;
  // Raw: see raw_message.h.
  grpc::ServerReadReactor<grpc::ByteBuffer>* ImportSession(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;

 private:
  const RpcRuntime& runtime_;
  // Snapshots that are being sent or received; calls may outlive us.
  const std::shared_ptr<ByteBudget> snapshots_ = std::make_shared<ByteBudget>();
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_SESSION_SERVICE_H_
