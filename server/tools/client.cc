#include "server/tools/client.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "models/utf8.h"

namespace chela {
namespace {

constexpr int kInterruptedExit = 130;

// gRPC's codes are Abseil's.
std::string CodeName(grpc::StatusCode code) {
  const std::string name =
      absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
  return name.empty() ? "UNKNOWN" : name;
}

void ReportDetails(const google::protobuf::Any& detail) {
  google::rpc::BadRequest bad;
  google::rpc::RetryInfo retry;
  if (detail.Is<google::rpc::BadRequest>() && detail.UnpackTo(&bad)) {
    if (bad.field_violations_size() == 1) return;  // the message says it
    for (const auto& violation : bad.field_violations()) {
      std::cerr << "  " << violation.field() << ": " << violation.description()
                << "\n";
    }
  } else if (detail.Is<google::rpc::RetryInfo>() && detail.UnpackTo(&retry)) {
    std::cerr << "  try again in "
              << static_cast<double>(retry.retry_delay().seconds()) +
                     retry.retry_delay().nanos() * 1e-9
              << " s\n";
  }
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  return grpc::CreateCustomChannel(
      options.target, grpc::InsecureChannelCredentials(), arguments);
}

Interrupts::Interrupts() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // Lives as long as the program: this object does, in main.
  std::thread([this] { Run(); }).detach();
}

void Interrupts::Run() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    std::lock_guard lock(mutex_);
    if (seen_.exchange(true) || running_ == nullptr) _exit(kInterruptedExit);
    running_->TryCancel();
  }
}

Interrupts::Scope::Scope(Interrupts& interrupts, grpc::ClientContext& context)
    : interrupts_(interrupts) {
  std::lock_guard lock(interrupts_.mutex_);
  interrupts_.running_ = &context;
}

Interrupts::Scope::~Scope() {
  std::lock_guard lock(interrupts_.mutex_);
  interrupts_.running_ = nullptr;
}

void Prepare(const ClientOptions& options, grpc::ClientContext& context) {
  if (options.timeout.count() == 0) return;
  context.set_deadline(std::chrono::system_clock::now() + options.timeout);
}

int Report(const grpc::Status& status) {
  if (status.ok()) return 0;
  const std::string code = CodeName(status.error_code());
  std::cerr << "chela-cli: " << code;
  // Of a call that ended here, the library's message is the code once more.
  if (status.error_message() != code) {
    std::cerr << ": " << status.error_message();
  }
  std::cerr << "\n";
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) ReportDetails(detail);
  }
  return 1;
}

bool Print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

bool PrintJson(const nlohmann::ordered_json& object) {
  return Print(object.dump(-1, ' ', false,
                           nlohmann::ordered_json::error_handler_t::replace) +
               "\n");
}

bool CheckUtf8(const std::string& field, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (step.kind != Utf8Kind::kCharacter) {
      std::cerr << "chela-cli: INVALID_ARGUMENT: " << field
                << ": no UTF-8 from byte " << at << " on; want UTF-8 text\n";
      return false;
    }
    at += step.length;
  }
  return true;
}

std::string ReadStandardInput() {
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

}  // namespace chela
