#include "server/rpc/malformed_requests.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "chela/v1/generation.grpc.pb.h"
#include "chela/v1/session.grpc.pb.h"
#include "server/engine/request.h"
#include "server/rpc/call.h"
#include "server/rpc/log.h"
#include "server/rpc/status.h"

namespace chela {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

class Guard final : public Interceptor {
 public:
  Guard(ServerRpcInfo* call, Metrics& metrics)
      : call_(call), metrics_(metrics), start_(Clock::now()) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::POST_RECV_MESSAGE)) {
      malformed_ = methods->GetRecvMessage() == nullptr;
    }
    if (malformed_ && methods->QueryInterceptionHookPoint(
                          InterceptionHookPoints::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(End());
    }
    methods->Proceed();
  }

 private:
  grpc::Status End() {
    const absl::Status status = absl::InvalidArgumentError(
        "the request message cannot be decoded; want protobuf of this "
        "method's request, with UTF-8 in its string fields");
    const std::string rpc = RpcLabel(call_->method());
    const char* code = StatusName(grpc::StatusCode::INVALID_ARGUMENT);
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start_).count();
    metrics_.AdmissionRejected("invalid");
    metrics_.RequestFinished(rpc, code, seconds);
    Log(spdlog::level::info, "request finished",
        {{"request_id", RequestId(call_->server_context()->client_metadata())},
         {"rpc", rpc},
         {"code", code},
         {"error", std::string(status.message())},
         {"duration_seconds", seconds}});
    return ToGrpc(status);
  }

  ServerRpcInfo* const call_;
  Metrics& metrics_;
  const Clock::time_point start_;
  bool malformed_ = false;
};

class GuardFactory final : public ServerInterceptorFactoryInterface {
 public:
  explicit GuardFactory(Metrics& metrics) : metrics_(metrics) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* call) override {
    const std::string method = call->method();
    const bool ours =
        method.rfind(
            std::string("/") + v1::GenerationService::service_full_name() + "/",
            0) == 0 ||
        method.rfind(
            std::string("/") + v1::SessionService::service_full_name() + "/",
            0) == 0;
    // Where messages stream in, "none" also means the end of the stream.
    const bool one_message =
        call->type() == ServerRpcInfo::Type::UNARY ||
        call->type() == ServerRpcInfo::Type::SERVER_STREAMING;
    if (!one_message || !ours) return nullptr;
    return new Guard(call, metrics_);
  }

 private:
  Metrics& metrics_;
};

}  // namespace

std::unique_ptr<ServerInterceptorFactoryInterface> MakeMalformedRequestGuard(
    Metrics& metrics) {
  return std::make_unique<GuardFactory>(metrics);
}

std::string RpcLabel(const std::string& method) {
  std::string label;
  for (const char c : method.substr(method.rfind('/') + 1)) {
    if (absl::ascii_isupper(c) && !label.empty()) label += '_';
    label += absl::ascii_tolower(c);
  }
  return label;
}

}  // namespace chela
