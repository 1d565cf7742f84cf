#ifndef CHELA_TESTS_INTEGRATION_SERVER_RIG_H_
#define CHELA_TESTS_INTEGRATION_SERVER_RIG_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "chela/v1/generation.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/server.h"
#include "tests/support/tiny_model.h"

namespace chela {

// A real server in this process, on free ports of loopback, with the tiny
// model, and clients of it.
class ServerRig {
 public:
  // The config's ports are replaced. Not loaded yet if `load` is false.
  explicit ServerRig(ServerConfig config = {}, bool load = true);

  Server& server() { return *server_; }
  void Load();
  v1::GenerationService::Stub& stub() { return *stub_; }
  grpc::health::v1::Health::Stub& health() { return *health_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  v1::GetLoadResponse GetLoad();

 private:
  test_support::TinyModel model_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

// A prompt that is continued greedily for exactly this many tokens.
v1::GenerateRequest Continue(const std::string& prompt, int max_tokens);

// True once the condition holds, false after half a minute.
bool Eventually(const std::function<bool()>& condition);

// The whole answer to "METHOD path" at a port of loopback.
std::string Http(int port, const std::string& method, const std::string& path);
// A connection to a port of loopback.
int ConnectTo(int port);

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_SERVER_RIG_H_
