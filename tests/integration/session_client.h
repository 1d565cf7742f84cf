#ifndef CHELA_TESTS_INTEGRATION_SESSION_CLIENT_H_
#define CHELA_TESTS_INTEGRATION_SESSION_CLIENT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "chela/v1/generation.grpc.pb.h"
#include "chela/v1/session.grpc.pb.h"
#include "tests/integration/server_rig.h"

namespace chela {

// The calls of a client that keeps its texts on the server. What returns a
// message fails the test unless the call is OK.
class SessionClient {
 public:
  explicit SessionClient(ServerRig& rig);

  v1::Session Create(const std::string& id);
  v1::Session Fork(const std::string& id, const std::string& to);
  v1::Session Rewind(const std::string& id, const v1::SessionPoint& point);
  grpc::Status Delete(const std::string& id);
  v1::ListSessionsResponse List();
  std::string Export(const std::string& id);
  // In messages of `piece` bytes.
  v1::Session Import(const std::string& id, const std::string& bytes,
                     size_t piece);
  grpc::Status ImportStatus(const std::string& id, const std::string& bytes,
                            size_t piece = 1 << 20);

  v1::GenerateResponse Generate(const v1::GenerateRequest& request);
  grpc::Status Status(
      const v1::GenerateRequest& request,
      std::chrono::milliseconds timeout = std::chrono::milliseconds(30000));

 private:
  grpc::Status Send(const std::string& id, const std::string& bytes,
                    size_t piece, v1::ImportSessionResponse* response);

  ServerRig& rig_;
  std::unique_ptr<v1::SessionService::Stub> stub_;
};

// A call that reads `prompt` after the session and goes on from there.
v1::GenerateRequest In(const std::string& session, const std::string& prompt,
                       int32_t max_tokens, uint64_t seed = 3);
// The same without a session.
v1::GenerateRequest Alone(const std::string& prompt, int32_t max_tokens);

std::vector<int32_t> Tokens(const v1::GenerateResponse& response);
std::vector<int32_t> Joined(std::vector<int32_t> a,
                            const std::vector<int32_t>& b);

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_SESSION_CLIENT_H_
