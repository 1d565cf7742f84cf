#include "tests/integration/server_rig.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace chela {

ServerRig::ServerRig(ServerConfig config, bool load) {
  config.listen = {"127.0.0.1", 0};
  config.metrics_listen = {"127.0.0.1", 0};
  config.device = DeviceChoice::kCpu;
  config.poison_free_states = true;
  if (config.max_sequences == 0) config.max_sequences = 64;
  auto server = Server::Listen(config, "tiny", nullptr);
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  channel_ = grpc::CreateChannel(server_->grpc_address().ToString(),
                                 grpc::InsecureChannelCredentials());
  stub_ = v1::GenerationService::NewStub(channel_);
  health_ = grpc::health::v1::Health::NewStub(channel_);
  if (load) Load();
}

void ServerRig::Load() {
  const absl::Status status = server_->Load(model_.directory());
  ASSERT_TRUE(status.ok()) << status;
}

v1::GetLoadResponse ServerRig::GetLoad() {
  grpc::ClientContext context;
  v1::GetLoadResponse load;
  EXPECT_TRUE(stub_->GetLoad(&context, {}, &load).ok());
  return load;
}

v1::GenerateRequest Continue(const std::string& prompt, int max_tokens) {
  v1::GenerateRequest request;
  request.set_prompt(prompt);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_ignore_eos(true);
  return request;
}

bool Eventually(const std::function<bool()>& condition) {
  const auto until = Clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

int ConnectTo(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  return fd;
}

std::string Http(int port, const std::string& method, const std::string& path) {
  const int fd = ConnectTo(port);
  const std::string request =
      method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (;;) {
    const ssize_t bytes = recv(fd, buffer, sizeof(buffer), 0);
    if (bytes <= 0) break;
    answer.append(buffer, static_cast<size_t>(bytes));
  }
  close(fd);
  return answer;
}

}  // namespace chela
