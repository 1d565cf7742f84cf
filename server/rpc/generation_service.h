#ifndef CHELA_SERVER_RPC_GENERATION_SERVICE_H_
#define CHELA_SERVER_RPC_GENERATION_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "chela/v1/generation.grpc.pb.h"
#include "server/metrics/metrics.h"
#include "server/rpc/call.h"
#include "server/rpc/delivery.h"
#include "server/rpc/worker_pool.h"

namespace chela {

struct ServiceOptions {
  int workers = 2;  // --rpc-workers
  bool log_content = false;
};

// chela.v1.GenerationService over one engine: each method makes the reactor of
// one call. Answers UNAVAILABLE until Serve.
//
// Threads: thread-safe. Must outlive the gRPC server's shutdown; the engine,
// tokenizer and ServedModel must outlive the last call.
class GenerationService final
    : public v1::GenerationService::WithRawCallbackMethod_ScoreStream<
          v1::GenerationService::CallbackService> {
 public:
  GenerationService(const ServiceOptions& options, Metrics& metrics);

  // From now on requests go to this model. Once.
  void Serve(const ServedModel& model);
  // True once no call runs, false at `deadline`.
  bool WaitNoCalls(Clock::time_point deadline);
  Metrics& metrics() { return *runtime_.metrics; }
  // What its calls share, with those of other services on the port.
  const RpcRuntime& runtime() const { return runtime_; }

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const v1::GenerateRequest* request,
                                     v1::GenerateResponse* response) override;
  grpc::ServerWriteReactor<v1::GenerateStreamResponse>* GenerateStream(
      grpc::CallbackServerContext* context,
      const v1::GenerateStreamRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  // Raw: see raw_message.h.
  grpc::ServerReadReactor<grpc::ByteBuffer>* ScoreStream(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(
      grpc::CallbackServerContext* context,
      const v1::DetokenizeRequest* request,
      v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(
      grpc::CallbackServerContext* context,
      const v1::GetModelInfoRequest* request,
      v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const v1::GetLoadRequest* request,
                                    v1::GetLoadResponse* response) override;

 private:
  CallCount calls_;
  std::atomic<const ServedModel*> model_{nullptr};
  WorkerPool workers_;
  Delivery delivery_;
  RpcRuntime runtime_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_GENERATION_SERVICE_H_
