#include "server/rpc/status.h"

#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"

namespace chela {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";
constexpr size_t kMaxDetailBytes = 4096;
constexpr size_t kMaxMessageBytes = 1024;

template <typename Message>
std::string TypeUrl() {
  return absl::StrCat(kTypePrefix, Message::descriptor()->full_name());
}

google::rpc::RetryInfo DefaultRetry() {
  google::rpc::RetryInfo retry;
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(kRetryDelay);
  retry.mutable_retry_delay()->set_seconds(seconds.count());
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(
      std::chrono::nanoseconds(kRetryDelay - seconds).count()));
  return retry;
}

}  // namespace

void FieldErrors::Add(const std::string& path, const std::string& description) {
  violations_.emplace_back(prefix_ + path, description);
}

absl::Status FieldErrors::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  google::rpc::BadRequest details;
  std::string message;
  size_t bytes = 0;
  size_t listed = 0;
  for (const auto& [field, description] : violations_) {
    bytes += field.size() + description.size() + 8;
    if (bytes > kMaxDetailBytes && listed > 0) break;
    auto* violation = details.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
    if (message.size() < kMaxMessageBytes) {
      absl::StrAppend(&message, listed == 0 ? "" : "; ", field, ": ",
                      description);
    }
    ++listed;
  }
  if (listed < violations_.size()) {
    const std::string rest =
        absl::StrCat(violations_.size() - listed, " more fields are wrong");
    auto* violation = details.add_field_violations();
    violation->set_field("...");
    violation->set_description(rest);
    absl::StrAppend(&message, "; ", rest);
  }
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(TypeUrl<google::rpc::BadRequest>(),
                    absl::Cord(details.SerializeAsString()));
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  static_assert(static_cast<int>(absl::StatusCode::kInvalidArgument) ==
                static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  static_assert(static_cast<int>(absl::StatusCode::kResourceExhausted) ==
                static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
                static_cast<int>(grpc::StatusCode::UNAUTHENTICATED));
  if (status.ok()) return grpc::Status::OK;

  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  bool has_retry = false;
  const std::string retry_type = TypeUrl<google::rpc::RetryInfo>();
  status.ForEachPayload(
      [&](absl::string_view type_url, const absl::Cord& payload) {
        auto* any = details.add_details();
        any->set_type_url(std::string(type_url));
        any->set_value(std::string(payload));
        has_retry = has_retry || type_url == retry_type;
      });
  if (absl::IsResourceExhausted(status) && !has_retry) {
    auto* any = details.add_details();
    any->set_type_url(retry_type);
    any->set_value(DefaultRetry().SerializeAsString());
  }
  const auto code = static_cast<grpc::StatusCode>(status.code());
  std::string message(status.message());
  if (details.details_size() == 0) return {code, std::move(message)};
  return {code, std::move(message), details.SerializeAsString()};
}

const char* StatusName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "CANCELLED";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::ABORTED:
      return "ABORTED";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DATA_LOSS:
      return "DATA_LOSS";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DO_NOT_USE:
      break;
  }
  return "UNKNOWN";
}

}  // namespace chela
