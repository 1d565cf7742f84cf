#ifndef CHELA_SERVER_RPC_STATUS_H_
#define CHELA_SERVER_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace chela {

// What is wrong with a request: every field, not only the first.
class FieldErrors {
 public:
  // `prefix` stands before each path ("request.").
  explicit FieldErrors(std::string prefix = "") : prefix_(std::move(prefix)) {}

  // path: "sampling.top_p". description: what it was and what is allowed;
  // lengths instead of contents, since prompts are never logged.
  void Add(const std::string& path, const std::string& description);
  bool empty() const { return violations_.empty(); }

  // OK without errors, else INVALID_ARGUMENT with a google.rpc.BadRequest
  // payload. Trailers are limited to 8 KiB: what does not fit in about 4 KiB
  // is counted in a last entry instead of listed.
  absl::Status ToStatus() const;

 private:
  std::string prefix_;
  std::vector<std::pair<std::string, std::string>> violations_;
};

// The one place where our errors become gRPC's. Payloads of `status` go into
// grpc-status-details-bin as a google.rpc.Status; RESOURCE_EXHAUSTED always
// carries a google.rpc.RetryInfo.
grpc::Status ToGrpc(const absl::Status& status);

// When a client whose call was refused for load should try again.
inline constexpr std::chrono::milliseconds kRetryDelay{1000};

// "OK", "INVALID_ARGUMENT", ...
const char* StatusName(grpc::StatusCode code);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_STATUS_H_
