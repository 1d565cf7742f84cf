#ifndef CHELA_SERVER_TOOLS_BENCH_READ_CEILING_H_
#define CHELA_SERVER_TOOLS_BENCH_READ_CEILING_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cpu/thread_pool.h"
#include "server/tools/bench/ceiling.h"

namespace chela::bench {

// How fast `threads` threads read memory: each adds up its own contiguous part
// of one large buffer with the widest vectors that the processor has. What a
// step that streams weights is measured against.
//
// Threads: owned by one thread.
class ReadCeiling final : public Ceiling {
 public:
  static constexpr size_t kBytes = size_t{1} << 30;

  // RESOURCE_EXHAUSTED if there is no memory for `bytes`.
  static absl::StatusOr<std::unique_ptr<ReadCeiling>> Create(
      int32_t threads, size_t bytes = kBytes);
  ~ReadCeiling() override;
  ReadCeiling(const ReadCeiling&) = delete;

  // Bytes a second: the median of whole passes that take at least `seconds`
  // together.
  double Measure(double seconds) override;
  // In parts of 1 MiB that the threads share, as the work of a step is shared.
  absl::Status Move(int64_t bytes) override;

 private:
  ReadCeiling(int32_t threads, uint64_t* data, size_t bytes)
      : pool_(threads), data_(data), bytes_(bytes) {}

  ThreadPool pool_;
  uint64_t* data_;
  size_t bytes_;
  size_t next_ = 0;   // byte that Move reads next
  uint64_t sum_ = 0;  // keeps the reads from being optimised away
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_READ_CEILING_H_
