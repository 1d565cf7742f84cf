#include "server/rpc/session_reactors.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/status.h"
#include "server/session/snapshot.h"

namespace chela {
namespace {

// Far below the 4 MiB that clients take by default.
constexpr size_t kChunkBytes = size_t{1} << 20;

// Small pieces are joined to larger ones as they come: each of them would take
// more memory than its bytes.
constexpr size_t kPieceBytes = size_t{64} << 10;

// Of the snapshots that are being sent or received, in all calls together.
constexpr int64_t kLeastInFlight = int64_t{256} << 20;
constexpr int64_t kSnapshotsInFlight = 4;

int64_t MostInFlight(const SnapshotModel& model) {
  return std::max(
      kLeastInFlight,
      kSnapshotsInFlight * static_cast<int64_t>(MaxSnapshotBytes(model)));
}

absl::Status TooMuchInFlight() {
  return absl::ResourceExhaustedError(
      "the exports and imports that run hold all the memory that they may; "
      "try later");
}

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

}  // namespace

absl::StatusOr<SessionOptions> ToOptions(const v1::SessionSettings& settings) {
  FieldErrors errors("settings.");
  SessionOptions options;
  options.id = settings.id();
  if (settings.has_id() && options.id.empty()) {
    errors.Add("id", "empty; want 1 .. 64 of A-Z, a-z, 0-9, '.', '_', '-'");
  }
  options.user = settings.user();
  if (options.user.size() > kMaxUserBytes) {
    errors.Add("user", absl::StrCat(options.user.size(),
                                    " bytes; want at most ", kMaxUserBytes));
  }
  if (settings.has_ttl_seconds()) {
    const int64_t ttl = settings.ttl_seconds();
    if (ttl < 0 || ttl > kMaxTtlSeconds) {
      errors.Add("ttl_seconds",
                 absl::StrCat(ttl, "; want 0 .. ", kMaxTtlSeconds));
    }
    options.ttl = std::chrono::seconds(ttl);
  }
  if (!errors.empty()) return errors.ToStatus();
  return options;
}

SessionPoint ToPoint(const v1::SessionPoint& point) {
  SessionPoint out;
  if (point.has_revision()) out.revision = point.revision();
  out.checkpoint = point.checkpoint();
  return out;
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

SessionReactor::SessionReactor(const RpcRuntime& runtime, const char* rpc,
                               grpc::CallbackServerContext* context,
                               std::string session, Work work)
    : CallReactor(runtime, rpc, context),
      session_(std::move(session)),
      work_(std::move(work)) {}

void SessionReactor::Start() {
  if (!session_.empty()) call().Note("session", session_);
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  RunOnWorker(
      [this, sessions = (*model)->sessions] { FinishCall(work_(*sessions)); });
}

ExportReactor::ExportReactor(const RpcRuntime& runtime,
                             grpc::CallbackServerContext* context,
                             const v1::ExportSessionRequest* request,
                             std::shared_ptr<ByteBudget> budget)
    : CallReactor(runtime, "export_session", context),
      request_(request),
      share_(std::move(budget)) {}

void ExportReactor::Start() {
  call().Note("session", request_->session());
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  model_ = *model;
  RunOnWorker([this] {
    if (const absl::Status status = Encode(); !status.ok()) {
      FinishCall(status);
      return;
    }
    call().Note("bytes", snapshot_.size());
    WriteNext();
  });
}

absl::Status ExportReactor::Encode() {
  const absl::StatusOr<SequenceStatePtr> state =
      model_->sessions->Read(request_->session(), ToPoint(request_->at()));
  CHELA_RETURN_IF_ERROR(state.status());
  absl::StatusOr<std::string> snapshot =
      EncodeSnapshot(**state, model_->snapshot);
  CHELA_RETURN_IF_ERROR(snapshot.status());
  if (!share_.Take(static_cast<int64_t>(snapshot->size()),
                   MostInFlight(model_->snapshot))) {
    return TooMuchInFlight();
  }
  snapshot_ = *std::move(snapshot);
  return absl::OkStatus();
}

void ExportReactor::WriteNext() {
  if (sent_ == snapshot_.size()) {
    FinishCall(absl::OkStatus());
    return;
  }
  const size_t size = std::min(kChunkBytes, snapshot_.size() - sent_);
  response_.set_chunk(snapshot_.data() + sent_, size);
  sent_ += size;
  StartWrite(&response_);
}

void ExportReactor::OnWriteDone(bool ok) {
  if (ok) {
    WriteNext();
  } else {
    FinishCall(absl::CancelledError("the client takes no more"));
  }
}

ImportReactor::ImportReactor(const RpcRuntime& runtime,
                             grpc::CallbackServerContext* context,
                             v1::ImportSessionResponse* response,
                             std::shared_ptr<ByteBudget> budget)
    : CallReactor(runtime, "import_session", context),
      context_(context),
      response_(response),
      share_(std::move(budget)) {}

void ImportReactor::Start() {
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  model_ = *model;
  StartRead(&request_);
}

void ImportReactor::OnReadDone(bool ok) {
  if (!ok) {
    if (context_->IsCancelled()) {
      FinishCall(absl::CancelledError("the client cancelled"));
    } else {
      RunOnWorker([this] { FinishCall(Import()); });
    }
    return;
  }
  if (!std::exchange(started_, true)) {
    settings_ = std::move(*request_.mutable_settings());
  }
  if (const absl::Status taken = TakeChunk(); !taken.ok()) {
    Refuse(taken);
    return;
  }
  request_.Clear();
  StartRead(&request_);
}

absl::Status ImportReactor::TakeChunk() {
  std::string& chunk = *request_.mutable_chunk();
  bytes_ += chunk.size();
  const size_t most = MaxSnapshotBytes(model_->snapshot);
  if (bytes_ > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk: more than ", most,
                     " bytes, which no state of this model has; "
                     "want a snapshot of fingerprint ",
                     model_->snapshot.fingerprint));
  }
  if (!share_.Take(static_cast<int64_t>(chunk.size()),
                   MostInFlight(model_->snapshot))) {
    return TooMuchInFlight();
  }
  if (!pieces_.empty() && pieces_.back().size() + chunk.size() <= kPieceBytes) {
    pieces_.back() += chunk;
  } else if (!chunk.empty()) {
    // Joined on the worker: a callback has no time for large copies.
    pieces_.push_back(std::move(chunk));
  }
  return absl::OkStatus();
}

absl::Status ImportReactor::Import() {
  const absl::StatusOr<SessionOptions> options = ToOptions(settings_);
  CHELA_RETURN_IF_ERROR(options.status());
  std::string snapshot;
  snapshot.reserve(bytes_);
  for (std::string& piece : pieces_) {
    snapshot += piece;
    piece = {};
  }
  call().Note("bytes", bytes_);
  absl::StatusOr<SequenceStatePtr> state =
      DecodeSnapshot(snapshot, model_->snapshot);
  CHELA_RETURN_IF_ERROR(state.status());
  const absl::StatusOr<SessionInfo> info =
      model_->sessions->Import(*std::move(state), *options);
  CHELA_RETURN_IF_ERROR(info.status());
  ToProto(*info, response_->mutable_session());
  return absl::OkStatus();
}

}  // namespace chela
