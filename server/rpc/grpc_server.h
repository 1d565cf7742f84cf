#ifndef CHELA_SERVER_RPC_GRPC_SERVER_H_
#define CHELA_SERVER_RPC_GRPC_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/engine/request.h"
#include "server/rpc/address.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/session_service.h"

namespace chela {

struct GrpcServerOptions {
  Address listen;
  int32_t max_message_bytes = 16 << 20;
};

// The gRPC port: GenerationService, SessionService, health with Watch,
// reflection, channelz.
//
// Health: "" is SERVING from the start (the process lives), the service's name
// once SetReady(true) was called.
//
// Limits, since this gRPC lacks later fixes against floods: streams of a
// connection, message and metadata sizes, pings. SO_REUSEPORT is off, so a
// second server on the same port fails.
//
// Threads: SetReady is thread-safe; the rest is main's.
class GrpcServer {
 public:
  // The services must outlive the server. UNAVAILABLE with the reason if the
  // port cannot be had.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, GenerationService& service,
      SessionService& sessions);
  ~GrpcServer();  // Shutdown()s at once
  GrpcServer(const GrpcServer&) = delete;

  const Address& address() const { return address_; }  // the real port
  void SetReady(bool ready);

  // Takes no new calls and tells the clients (GOAWAY); returns when all calls
  // have ended. Blocks: on a thread of its own if calls are to go on.
  void Shutdown();
  // Cancels the calls that are left, so that Shutdown returns. Only during it.
  void CancelCalls();

 private:
  GrpcServer() = default;

  Address address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_GRPC_SERVER_H_
