#include "server/rpc/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/malformed_requests.h"

namespace chela {
namespace {

constexpr int kMaxStreamsPerConnection = 1024;
constexpr int kMaxMetadataBytes = 16384;
constexpr int kKeepaliveMs = 30000;
constexpr int kKeepaliveTimeoutMs = 10000;
// Clients may ping as often as we do, with room for timers.
constexpr int kMinClientPingMs = 10000;
constexpr int kMaxPingStrikes = 2;
// What a client may send ahead of what was read of its stream. Left alone, gRPC
// raises it with the bandwidth that it measures, so that a text which is sent
// faster than it is scored piles up in memory.
constexpr int kReadAheadBytes = 262144;

void SetLimits(const GrpcServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
                             kReadAheadBytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options, GenerationService& service,
    SessionService& sessions) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::channelz::experimental::InitChannelzService();

  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen.ToString(),
                           grpc::InsecureServerCredentials(), &port);
  SetLimits(options, builder);
  builder.RegisterService(&service);
  builder.RegisterService(&sessions);
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(MakeMalformedRequestGuard(service.metrics()));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));

  std::unique_ptr<GrpcServer> server(new GrpcServer());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    const absl::Status reason = WhyNotListen(options.listen);
    return absl::UnavailableError(absl::StrCat(
        "cannot listen at ", options.listen.ToString(),
        " (gRPC): ", reason.ok() ? "gRPC did not start" : reason.message()));
  }
  server->address_ = {options.listen.host, static_cast<uint16_t>(port)};
  server->SetReady(false);
  return server;
}

GrpcServer::~GrpcServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

void GrpcServer::SetReady(bool ready) {
  server_->GetHealthCheckService()->SetServingStatus(
      v1::GenerationService::service_full_name(), ready);
}

void GrpcServer::Shutdown() { server_->Shutdown(); }

void GrpcServer::CancelCalls() {
  grpc_server_cancel_all_calls(server_->c_server());
}

}  // namespace chela
