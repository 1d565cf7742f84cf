#include "server/rpc/generation_service.h"

#include "server/rpc/generate_reactors.h"
#include "server/rpc/score_reactors.h"
#include "server/rpc/token_reactors.h"

namespace chela {
namespace {

// Long inputs that may wait for a worker. Each holds its message, so that the
// queue holds at most this many times --max-message-bytes.
constexpr size_t kWaitingTasksPerWorker = 32;

}  // namespace

GenerationService::GenerationService(const ServiceOptions& options,
                                     Metrics& metrics)
    : workers_(options.workers,
               kWaitingTasksPerWorker * static_cast<size_t>(options.workers)),
      runtime_{.metrics = &metrics,
               .workers = &workers_,
               .delivery = &delivery_,
               .calls = &calls_,
               .model = &model_,
               .log_content = options.log_content} {}

void GenerationService::Serve(const ServedModel& model) {
  model_.store(&model, std::memory_order_release);
}

bool GenerationService::WaitNoCalls(Clock::time_point deadline) {
  return calls_.WaitZero(deadline);
}

grpc::ServerUnaryReactor* GenerationService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request,
    v1::GenerateResponse* response) {
  return StartCall<GenerateReactor>(runtime_, context, request, response);
}

grpc::ServerWriteReactor<v1::GenerateStreamResponse>*
GenerationService::GenerateStream(grpc::CallbackServerContext* context,
                                  const v1::GenerateStreamRequest* request) {
  return StartCall<GenerateStreamReactor>(runtime_, context, request);
}

grpc::ServerUnaryReactor* GenerationService::Score(
    grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
    v1::ScoreResponse* response) {
  return StartCall<ScoreReactor>(runtime_, context, request, response);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* GenerationService::ScoreStream(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return StartCall<ScoreStreamReactor>(runtime_, context, response);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(
    grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
    v1::TokenizeResponse* response) {
  return StartCall<TokenizeReactor>(runtime_, context, request, response);
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(
    grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
    v1::DetokenizeResponse* response) {
  return StartCall<DetokenizeReactor>(runtime_, context, request, response);
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(
    grpc::CallbackServerContext* context, const v1::GetModelInfoRequest*,
    v1::GetModelInfoResponse* response) {
  Call call(runtime_, "get_model_info", context);
  const absl::StatusOr<const ServedModel*> model = call.Model();
  if (model.ok()) *response = (*model)->info;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(call.End(model.status()));
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::GetLoad(
    grpc::CallbackServerContext* context, const v1::GetLoadRequest*,
    v1::GetLoadResponse* response) {
  Call call(runtime_, "get_load", context);
  const absl::StatusOr<const ServedModel*> model = call.Model();
  if (model.ok()) {
    const EngineLoad load = (*model)->engine->Load();
    response->set_running(load.running);
    response->set_waiting(load.waiting);
    response->set_queued_tokens(load.queued_tokens);
    response->set_state_slots_total(load.slots_total);
    response->set_state_slots_free(load.slots_free);
    response->set_draining(load.draining);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(call.End(model.status()));
  return reactor;
}

}  // namespace chela
