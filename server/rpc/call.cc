#include "server/rpc/call.h"

#include <chrono>
#include <cstdio>
#include <random>
#include <string_view>
#include <utility>

#include "server/rpc/log.h"
#include "server/rpc/status.h"

namespace chela {
namespace {

constexpr size_t kMaxIdBytes = 128;

bool IsUsableId(const grpc::string_ref& id) {
  if (id.empty() || id.size() > kMaxIdBytes) return false;
  for (const char c : id) {
    if (c <= ' ' || c > '~') return false;
  }
  return true;
}

std::string RandomId() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    char digits[9];
    std::snprintf(digits, sizeof(digits), "%08x", device());
    id += digits;
  }
  return id;
}

}  // namespace

void CallCount::Add() {
  std::lock_guard lock(mutex_);
  ++count_;
}

void CallCount::Remove() {
  std::lock_guard lock(mutex_);
  if (--count_ == 0) zero_.notify_all();
}

bool CallCount::WaitZero(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return zero_.wait_until(lock, deadline, [this] { return count_ == 0; });
}

std::string RequestId(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  for (const char* key : {"x-request-id", "traceparent"}) {
    const auto found = metadata.find(key);
    if (found != metadata.end() && IsUsableId(found->second)) {
      return {found->second.data(), found->second.size()};
    }
  }
  return RandomId();
}

std::optional<Clock::time_point> ToDeadline(
    std::chrono::system_clock::time_point deadline) {
  // A year ahead means "none", and its sum might overflow.
  const auto left = deadline - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(left);
}

Call::Call(const RpcRuntime& runtime, const char* rpc,
           grpc::CallbackServerContext* context)
    : runtime_(runtime),
      rpc_(rpc),
      start_(Clock::now()),
      id_(RequestId(context->client_metadata())),
      deadline_(ToDeadline(context->deadline())) {
  context->AddInitialMetadata("x-request-id", id_);
  runtime_.calls->Add();
}

Call::~Call() { runtime_.calls->Remove(); }

RequestHeader Call::Header(int32_t priority) const {
  return {.id = id_, .priority = priority, .deadline = deadline_};
}

absl::StatusOr<const ServedModel*> Call::Model() {
  const ServedModel* model = runtime_.model->load(std::memory_order_acquire);
  if (model != nullptr) return model;
  return absl::UnavailableError("the model is still loading");
}

void Call::Note(const std::string& key, nlohmann::ordered_json value) {
  fields_[key] = std::move(value);
}

void Call::NoteUsage(const Usage& usage) {
  fields_["prompt_tokens"] = usage.prompt_tokens;
  if (usage.cached_prompt_tokens > 0) {
    fields_["cached_prompt_tokens"] = usage.cached_prompt_tokens;
    fields_["cached_tier"] = Name(usage.cached_tier);
  }
  fields_["generated_tokens"] = usage.generated_tokens;
  fields_["queue_seconds"] = usage.queue_seconds;
  fields_["prefill_seconds"] = usage.prefill_seconds;
  fields_["time_to_first_token_seconds"] = usage.time_to_first_token_seconds;
  fields_["decode_seconds"] = usage.decode_seconds;
}

void Call::Refused(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) {
    runtime_.metrics->AdmissionRejected("invalid");
  } else if (absl::IsResourceExhausted(status)) {
    runtime_.metrics->AdmissionRejected("queue_full");
  } else if (absl::IsUnavailable(status)) {
    runtime_.metrics->AdmissionRejected("draining");
  }
}

grpc::Status Call::End(const absl::Status& status) {
  absl::Status said = status;
  if (absl::IsCancelled(status) && DeadlinePassed()) {
    said = absl::DeadlineExceededError("the deadline passed");
  }
  grpc::Status out = ToGrpc(said);
  const double seconds =
      std::chrono::duration<double>(Clock::now() - start_).count();
  const char* code = StatusName(out.error_code());
  runtime_.metrics->RequestFinished(rpc_, code, seconds);

  nlohmann::ordered_json fields = {
      {"request_id", id_}, {"rpc", rpc_}, {"code", code}};
  if (!out.ok()) fields["error"] = out.error_message();
  for (auto& [key, value] : fields_.items()) fields[key] = value;
  fields["duration_seconds"] = seconds;
  Log(spdlog::level::info, "request finished", fields);
  return out;
}

}  // namespace chela
