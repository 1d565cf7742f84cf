#ifndef CHELA_SERVER_TOOLS_CLIENT_H_
#define CHELA_SERVER_TOOLS_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace chela {

// What every subcommand of chela-cli takes.
struct ClientOptions {
  std::string target = "127.0.0.1:50051";
  std::chrono::milliseconds timeout{0};  // of a call; 0: none
  bool json = false;
};

std::shared_ptr<grpc::Channel> Connect(const ClientOptions& options);

// Ctrl-C and SIGTERM cancel the running call; without one, and the second
// time, they end the program with 130. Made before any other thread.
class Interrupts {
 public:
  Interrupts();
  Interrupts(const Interrupts&) = delete;

  bool seen() const { return seen_; }

  // Makes `context` the running call as long as this lives.
  class Scope {
   public:
    Scope(Interrupts& interrupts, grpc::ClientContext& context);
    ~Scope();
    Scope(const Scope&) = delete;

   private:
    Interrupts& interrupts_;
  };

 private:
  void Run();

  std::atomic<bool> seen_{false};
  std::mutex mutex_;
  grpc::ClientContext* running_ = nullptr;
};

// Sets the deadline of a call.
void Prepare(const ClientOptions& options, grpc::ClientContext& context);

// Says on stderr what went wrong: the status's name and message, each wrong
// field, when to try again. Returns the exit code: 0 if it is OK, else 1.
int Report(const grpc::Status& status);

// Writes to stdout at once. False if nobody reads it any more.
[[nodiscard]] bool Print(std::string_view text);
// One JSON object on one line.
[[nodiscard]] bool PrintJson(const nlohmann::ordered_json& object);

// Whether `text` is UTF-8, as every string of a request must be; if not, says
// on stderr where `field` breaks off.
[[nodiscard]] bool CheckUtf8(const std::string& field, std::string_view text);

// All of standard input.
std::string ReadStandardInput();

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_CLIENT_H_
