#ifndef CHELA_SERVER_RPC_TOKEN_REACTORS_H_
#define CHELA_SERVER_RPC_TOKEN_REACTORS_H_

#include "chela/v1/generation.pb.h"
#include "server/rpc/call_reactor.h"

namespace chela {

// Tokenize and Detokenize: no engine, only the tokenizer, on a worker if the
// input is long.
class TokenizeReactor final : public CallReactor<grpc::ServerUnaryReactor> {
 public:
  TokenizeReactor(const RpcRuntime& runtime,
                  grpc::CallbackServerContext* context,
                  const v1::TokenizeRequest* request,
                  v1::TokenizeResponse* response)
      : CallReactor(runtime, "tokenize", context),
        request_(request),
        response_(response) {}
  void Start();
  void Deliver() override {}

 private:
  void Answer(const Tokenizer& tokenizer);

  const v1::TokenizeRequest* const request_;
  v1::TokenizeResponse* const response_;
};

class DetokenizeReactor final : public CallReactor<grpc::ServerUnaryReactor> {
 public:
  DetokenizeReactor(const RpcRuntime& runtime,
                    grpc::CallbackServerContext* context,
                    const v1::DetokenizeRequest* request,
                    v1::DetokenizeResponse* response)
      : CallReactor(runtime, "detokenize", context),
        request_(request),
        response_(response) {}
  void Start();
  void Deliver() override {}

 private:
  void Answer(const Tokenizer& tokenizer);

  const v1::DetokenizeRequest* const request_;
  v1::DetokenizeResponse* const response_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_TOKEN_REACTORS_H_
