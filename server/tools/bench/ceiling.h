#ifndef CHELA_SERVER_TOOLS_BENCH_CEILING_H_
#define CHELA_SERVER_TOOLS_BENCH_CEILING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"

namespace chela::bench {

// The bytes a second that a device's memory gives at most, which is what a
// step's bytes are put beside.
class Ceiling {
 public:
  virtual ~Ceiling() = default;
  // Bytes a second: the median of passes that take at least `seconds` together.
  virtual double Measure(double seconds) = 0;
  // Moves `bytes` bytes once, from where the last call stopped: what a step of
  // so many bytes would do on this memory if it did nothing else. UNIMPLEMENTED
  // where there is no such test.
  virtual absl::Status Move(int64_t bytes) {
    return absl::UnimplementedError(
        absl::StrCat("no test of single moves of ", bytes, " bytes here"));
  }
};

// The read test of `backend`'s threads on a CPU; on a GPU a copy within its
// memory, counting the bytes read and the bytes written. RESOURCE_EXHAUSTED if
// there is no memory for its buffers.
absl::StatusOr<std::unique_ptr<Ceiling>> MakeCeiling(Backend& backend);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_CEILING_H_
