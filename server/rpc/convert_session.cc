#include "server/rpc/convert_session.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/session_record.h"

namespace chela {
namespace {

void SetTime(std::chrono::system_clock::time_point time,
             google::protobuf::Timestamp* out) {
  const int64_t nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(
                            time.time_since_epoch())
                            .count();
  constexpr int64_t kNanos = 1000000000;
  int64_t seconds = nanos / kNanos;
  if (nanos % kNanos < 0) --seconds;
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(nanos - seconds * kNanos));
}

void CheckRevision(const std::string& path, int64_t revision,
                   FieldErrors& errors) {
  if (revision >= 0) return;
  errors.Add(path, absl::StrCat(revision, "; want at least 0"));
}

}  // namespace

void CheckNameField(const std::string& path, const std::string& name,
                    FieldErrors& errors) {
  const absl::Status status = CheckName(path, name);
  if (status.ok()) return;
  // It begins with the path.
  errors.Add(path, std::string(status.message().substr(path.size() + 2)));
}

SessionOptions ToOptions(const v1::SessionSettings& settings,
                         FieldErrors& errors) {
  SessionOptions options;
  options.id = settings.id();
  if (settings.has_id()) CheckNameField("settings.id", options.id, errors);
  options.user = settings.user();
  if (options.user.size() > kMaxUserBytes) {
    errors.Add("settings.user",
               absl::StrCat(options.user.size(), " bytes; want at most ",
                            kMaxUserBytes));
  }
  if (settings.has_ttl_seconds()) {
    const int64_t ttl = settings.ttl_seconds();
    if (ttl < 0 || ttl > kMaxTtlSeconds) {
      errors.Add("settings.ttl_seconds",
                 absl::StrCat(ttl, "; want 0 .. ", kMaxTtlSeconds));
    }
    options.ttl = std::chrono::seconds(ttl);
  }
  return options;
}

SessionPoint ToPoint(const std::string& path, const v1::SessionPoint& point,
                     FieldErrors& errors) {
  SessionPoint out;
  switch (point.point_case()) {
    case v1::SessionPoint::kRevision:
      CheckRevision(path + ".revision", point.revision(), errors);
      out.revision = point.revision();
      break;
    case v1::SessionPoint::kCheckpoint:
      CheckNameField(path + ".checkpoint", point.checkpoint(), errors);
      out.checkpoint = point.checkpoint();
      break;
    case v1::SessionPoint::POINT_NOT_SET:
      break;
  }
  return out;
}

void CheckTurn(const v1::GenerateRequest& request, FieldErrors& errors) {
  if (!request.has_session()) {
    for (const auto& [path, present] :
         {std::pair("expected_revision", request.has_expected_revision()),
          std::pair("checkpoint", request.has_checkpoint())}) {
      if (present) errors.Add(path, "set; want it with a session only");
    }
    return;
  }
  CheckNameField("session", request.session(), errors);
  if (request.has_state())
    errors.Add("state", "set; want it without a session");
  if (request.has_expected_revision()) {
    CheckRevision("expected_revision", request.expected_revision(), errors);
  }
  if (request.has_checkpoint()) {
    CheckNameField("checkpoint", request.checkpoint(), errors);
  }
}

void ToProto(const SessionInfo& info, v1::Session* out) {
  out->set_id(info.id);
  out->set_user(info.user);
  out->set_tokens(info.tokens);
  out->set_revision(info.revision);
  out->mutable_revisions()->Add(info.revisions.begin(), info.revisions.end());
  for (const std::string& name : info.checkpoints) out->add_checkpoints(name);
  out->set_state_bytes(info.state_bytes);
  out->set_in_memory(info.in_memory);
  SetTime(info.created, out->mutable_create_time());
  SetTime(info.used, out->mutable_use_time());
  if (info.expires.has_value()) {
    SetTime(*info.expires, out->mutable_expire_time());
  }
}

}  // namespace chela
