#ifndef CHELA_SERVER_RPC_GENERATION_TURN_H_
#define CHELA_SERVER_RPC_GENERATION_TURN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "chela/v1/generation.pb.h"
#include "server/rpc/call.h"
#include "server/session/session_registry.h"

namespace chela {

// What a generation has to do with texts that go on: the session or the state
// that it starts from, and what becomes of the state at its end.
//
// Begin, Commit and Undo may block on the store: on a worker. One thread at a
// time.
class GenerationTurn {
 public:
  // Whether a request has one, so that it must begin on a worker.
  static bool Needed(const v1::GenerateRequest& request) {
    return request.has_session() || request.has_state() ||
           request.return_state();
  }

  // Claims the session, or verifies and decodes the state, of which there is
  // one at most: CheckTurn has found the request's fields right. Errors as the
  // registry has them; FAILED_PRECONDITION for states without a key, or if they
  // would be too large for a message; PERMISSION_DENIED for a forged one.
  absl::Status Begin(const v1::GenerateRequest& request,
                     const ServedModel& model);
  TurnInput input() const { return {start_, keeps_state()}; }
  bool keeps_state() const { return turn_.has_value() || return_state_; }

  // The generation ended well: stores its state, and says what the client gets.
  struct Result {
    std::optional<int64_t> revision;
    std::optional<std::string> state;
  };
  absl::StatusOr<Result> Commit(const SequenceStatePtr& state);
  // It did not: the session is as it was, and free again. Does not block.
  void Abandon() { turn_.reset(); }

  // Whether a client that never saw the end leaves something to Undo.
  bool committed() const { return revision_.has_value(); }
  void Undo();

 private:
  absl::Status BeginSession(const v1::GenerateRequest& request);
  absl::Status CheckStates(const v1::GenerateRequest& request) const;

  const ServedModel* model_ = nullptr;
  std::optional<SessionTurn> turn_;
  std::string session_;
  std::string checkpoint_;
  bool return_state_ = false;
  SequenceStatePtr start_;
  std::optional<int64_t> revision_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_GENERATION_TURN_H_
