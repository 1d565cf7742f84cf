#ifndef CHELA_SERVER_RPC_CALL_H_
#define CHELA_SERVER_RPC_CALL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "chela/v1/generation.pb.h"
#include "server/engine/engine.h"
#include "server/metrics/metrics.h"
#include "server/rpc/convert.h"
#include "server/rpc/delivery.h"
#include "server/rpc/signed_state.h"
#include "server/rpc/worker_pool.h"
#include "server/session/session_registry.h"

namespace chela {

// What serves requests once the model is loaded. Borrows; immutable.
struct ServedModel {
  Engine* engine = nullptr;
  ConvertContext convert;
  v1::GetModelInfoResponse info;
  SessionRegistry* sessions = nullptr;
  const StateSigner* signer = nullptr;  // null: no key
  SnapshotModel snapshot;
  int32_t max_message_bytes = 16 << 20;
};

// The calls that are being served, so that a drain can wait for the last.
// Thread-safe.
class CallCount {
 public:
  void Add();
  void Remove();
  // True once there is none, false at `deadline`.
  bool WaitZero(Clock::time_point deadline);

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  int64_t count_ = 0;
};

// What all calls of a server share. Everything borrowed outlives them.
struct RpcRuntime {
  Metrics* metrics = nullptr;
  WorkerPool* workers = nullptr;
  Delivery* delivery = nullptr;
  CallCount* calls = nullptr;
  std::atomic<const ServedModel*>* model = nullptr;  // null until it is loaded
  bool log_content = false;
};

// The x-request-id of the client's metadata, else its traceparent, else a
// random one. Ids of other than 1 .. 128 visible ASCII characters count as
// absent, since they go into logs and headers.
std::string RequestId(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

// gRPC's deadline on the engine's clock; nothing for "none".
std::optional<Clock::time_point> ToDeadline(
    std::chrono::system_clock::time_point deadline);

inline constexpr std::chrono::milliseconds kDeadlineSlack{10};

// The bookkeeping of one call: its id, its count, its one log line and its
// metrics. Owned by the call's reactor; Note and End are made by whoever ends
// the call.
class Call {
 public:
  // rpc: "generate_stream"; a string that outlives the call.
  Call(const RpcRuntime& runtime, const char* rpc,
       grpc::CallbackServerContext* context);
  ~Call();
  Call(const Call&) = delete;

  const RpcRuntime& runtime() const { return runtime_; }
  const std::string& id() const { return id_; }
  // Also if it is about to: gRPC counts in whole milliseconds, and a client
  // whose own clock runs out cancels a little before ours does.
  bool DeadlinePassed() const {
    return deadline_.has_value() && Clock::now() + kDeadlineSlack >= *deadline_;
  }
  RequestHeader Header(int32_t priority) const;

  // The model, or UNAVAILABLE while there is none.
  absl::StatusOr<const ServedModel*> Model();

  // A field of the log line.
  void Note(const std::string& key, nlohmann::ordered_json value);
  void NoteUsage(const Usage& usage);
  // Counts a refusal that the engine did not see.
  void Refused(const absl::Status& status);
  // The call's status is decided: logs and counts it, returns what gRPC sends.
  // Once. An engine's CANCELLED past the deadline becomes DEADLINE_EXCEEDED.
  grpc::Status End(const absl::Status& status);

 private:
  const RpcRuntime& runtime_;
  const char* const rpc_;
  const Clock::time_point start_;
  const std::string id_;
  const std::optional<Clock::time_point> deadline_;
  nlohmann::ordered_json fields_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_CALL_H_
