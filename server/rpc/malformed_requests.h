#ifndef CHELA_SERVER_RPC_MALFORMED_REQUESTS_H_
#define CHELA_SERVER_RPC_MALFORMED_REQUESTS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>

#include "server/metrics/metrics.h"

namespace chela {

// Answers a request message that cannot be decoded (broken protobuf, a string
// field that is no UTF-8) with INVALID_ARGUMENT; gRPC by itself would say
// UNIMPLEMENTED without a word, and no method of ours sees such a call. Logs
// and counts it as the methods do. Of methods of our services with one request
// message; a stream of requests decodes its own.
//
// `metrics` must outlive the gRPC server. Thread-safe.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeMalformedRequestGuard(Metrics& metrics);

// "/chela.v1.GenerationService/GetLoad" -> "get_load", the metrics' label.
std::string RpcLabel(const std::string& method);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_MALFORMED_REQUESTS_H_
