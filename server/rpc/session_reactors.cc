#include "server/rpc/session_reactors.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/convert_session.h"
#include "server/rpc/raw_message.h"
#include "server/rpc/status.h"
#include "server/session/snapshot.h"
#include "server/session/snapshot_header.h"

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

}  // namespace

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
  FieldErrors errors;
  CheckNameField("session", request_->session(), errors);
  const SessionPoint point = ToPoint("at", request_->at(), errors);
  CHELA_RETURN_IF_ERROR(errors.ToStatus());
  const absl::StatusOr<SequenceStatePtr> state =
      model_->sessions->Read(request_->session(), point);
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
                             grpc::ByteBuffer* response,
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
  StartRead(&message_);
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
  const absl::Status taken = TakeMessage();
  if (!taken.ok()) {
    Refuse(taken);
    return;
  }
  StartRead(&message_);
}

absl::Status ImportReactor::TakeMessage() {
  v1::ImportSessionRequest request;
  if (!Decode(message_, request)) {
    return absl::InvalidArgumentError(
        "a message of the stream cannot be decoded; want a protobuf "
        "ImportSessionRequest");
  }
  message_.Clear();
  if (!std::exchange(started_, true)) {
    settings_ = std::move(*request.mutable_settings());
  }
  return TakeChunk(*request.mutable_chunk());
}

absl::Status ImportReactor::TakeChunk(std::string& chunk) {
  bytes_ += chunk.size();
  const size_t most = MaxSnapshotBytes(model_->snapshot);
  if (bytes_ > most) return TooLong(chunk);
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

// Another model's snapshot is told from what is none at all.
absl::Status ImportReactor::TooLong(const std::string& chunk) const {
  std::string beginning;
  for (const std::string& piece : pieces_) {
    if (beginning.size() >= kMaxSnapshotHeadBytes) break;
    beginning += piece.substr(0, kMaxSnapshotHeadBytes);
  }
  beginning += chunk.substr(0, kMaxSnapshotHeadBytes);
  absl::Status status = CheckSnapshotBeginning(beginning, model_->snapshot);
  if (absl::IsFailedPrecondition(status)) return status;
  return absl::InvalidArgumentError(
      absl::StrCat("chunk: more than ", MaxSnapshotBytes(model_->snapshot),
                   " bytes, which no state of this model has; "
                   "want a snapshot of fingerprint ",
                   model_->snapshot.fingerprint));
}

absl::Status ImportReactor::Import() {
  FieldErrors errors;
  const SessionOptions options = ToOptions(settings_, errors);
  CHELA_RETURN_IF_ERROR(errors.ToStatus());
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
      model_->sessions->Import(*std::move(state), options);
  CHELA_RETURN_IF_ERROR(info.status());
  v1::ImportSessionResponse response;
  ToProto(*info, response.mutable_session());
  *response_ = chela::Encode(response);
  return absl::OkStatus();
}

}  // namespace chela
