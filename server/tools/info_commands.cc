#include <iostream>

#include "absl/strings/str_cat.h"
#include "chela/v1/generation.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/tools/commands.h"

namespace chela {

using nlohmann::ordered_json;

int RunTokenize(const ClientOptions& options,
                const v1::TokenizeRequest& request, Interrupts& interrupts) {
  if (!CheckUtf8("text", request.text())) return 1;
  const auto stub = v1::GenerationService::NewStub(Connect(options));
  grpc::ClientContext context;
  Prepare(options, context);
  const Interrupts::Scope scope(interrupts, context);
  v1::TokenizeResponse response;
  const grpc::Status status = stub->Tokenize(&context, request, &response);
  if (!status.ok()) return Report(status);
  if (options.json) {
    ordered_json object = {{"tokens", ordered_json::array()},
                           {"pieces", ordered_json::array()}};
    for (const int32_t id : response.tokens().ids()) {
      object["tokens"].push_back(id);
    }
    for (const std::string& piece : response.pieces()) {
      object["pieces"].push_back(piece);
    }
    return PrintJson(object) ? 0 : 1;
  }
  std::string lines;
  for (int i = 0; i < response.tokens().ids_size(); ++i) {
    absl::StrAppend(&lines, response.tokens().ids(i), "\t", response.pieces(i),
                    "\n");
  }
  return Print(lines) ? 0 : 1;
}

int RunInfo(const ClientOptions& options, Interrupts& interrupts) {
  const auto stub = v1::GenerationService::NewStub(Connect(options));
  grpc::ClientContext context;
  Prepare(options, context);
  const Interrupts::Scope scope(interrupts, context);
  v1::GetModelInfoResponse info;
  const grpc::Status status = stub->GetModelInfo(&context, {}, &info);
  if (!status.ok()) return Report(status);
  ordered_json object = {
      {"model", info.model()},
      {"parameters", info.parameters()},
      {"config", ordered_json::parse(info.config_json(), nullptr, false)},
      {"tokenizer", info.tokenizer()},
      {"device", info.device()},
      {"state_bytes_per_sequence", info.state_bytes_per_sequence()},
      {"state_slots", info.state_slots()}};
  if (options.json) return PrintJson(object) ? 0 : 1;
  object["fingerprint"] = info.fingerprint();
  object["server_version"] = info.server_version();
  object["max_prompt_tokens"] = info.max_prompt_tokens();
  object["max_output_tokens"] = info.max_output_tokens();
  object["chunk_tokens"] = info.chunk_tokens();
  std::string lines;
  for (const auto& [key, value] : object.items()) {
    absl::StrAppend(&lines, key, ": ",
                    value.is_string() ? value.get<std::string>() : value.dump(),
                    "\n");
  }
  return Print(lines) ? 0 : 1;
}

int RunHealth(const ClientOptions& options, const std::string& service,
              Interrupts& interrupts) {
  namespace health = grpc::health::v1;
  const auto stub = health::Health::NewStub(Connect(options));
  grpc::ClientContext context;
  Prepare(options, context);
  const Interrupts::Scope scope(interrupts, context);
  health::HealthCheckRequest request;
  request.set_service(service);
  health::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return Report(status);
  const std::string name =
      health::HealthCheckResponse::ServingStatus_Name(response.status());
  const bool printed = options.json ? PrintJson(ordered_json{{"status", name}})
                                    : Print(name + "\n");
  const bool serving =
      response.status() == health::HealthCheckResponse::SERVING;
  return printed && serving ? 0 : 1;
}

}  // namespace chela
