#include "server/tools/bench/read_ceiling.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

// Unrolled over eight registers so that additions never bound the reads.
template <typename Vector>
inline __attribute__((always_inline)) uint64_t Sum(const uint64_t* data,
                                                   size_t words) {
  constexpr size_t kWords = sizeof(Vector) / sizeof(uint64_t);
  Vector sums[8] = {};
  const auto* vectors = reinterpret_cast<const Vector*>(data);
  for (size_t i = 0; i + 8 <= words / kWords; i += 8) {
    // 4 KiB ahead: the hardware's prefetch stops at a page's end.
    for (size_t line = 0; line < 8 * sizeof(Vector); line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(vectors + i) + 4096 +
                         line);
    }
    for (int j = 0; j < 8; ++j) sums[j] += vectors[i + j];
  }
  uint64_t total = 0;
  for (const Vector& sum : sums) {
    for (size_t word = 0; word < kWords; ++word) total += sum[word];
  }
  return total;
}

using V128 [[gnu::vector_size(16), gnu::may_alias]] = uint64_t;
uint64_t SumPortable(const uint64_t* data, size_t words) {
  return Sum<V128>(data, words);
}

using SumFunction = uint64_t (*)(const uint64_t*, size_t);

#if defined(__x86_64__)
using V256 [[gnu::vector_size(32), gnu::may_alias]] = uint64_t;
using V512 [[gnu::vector_size(64), gnu::may_alias]] = uint64_t;
__attribute__((target("avx2"))) uint64_t SumAvx2(const uint64_t* data,
                                                 size_t words) {
  return Sum<V256>(data, words);
}
__attribute__((target("avx512f"))) uint64_t SumAvx512(const uint64_t* data,
                                                      size_t words) {
  return Sum<V512>(data, words);
}
SumFunction ChooseSum() {
  if (__builtin_cpu_supports("avx512f")) return SumAvx512;
  if (__builtin_cpu_supports("avx2")) return SumAvx2;
  return SumPortable;
}
#else
SumFunction ChooseSum() { return SumPortable; }
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<ReadCeiling>> ReadCeiling::Create(
    int32_t threads, size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("read test: no memory for ", bytes, " bytes"));
  }
  // Advice only: without huge pages the ceiling is a little lower.
  madvise(data, bytes, MADV_HUGEPAGE);
  auto ceiling = std::unique_ptr<ReadCeiling>(
      new ReadCeiling(threads, static_cast<uint64_t*>(data), bytes));
  // Pages that were never written are all the same page of zeros.
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) ceiling->data_[i] = i;
  return ceiling;
}

ReadCeiling::~ReadCeiling() { munmap(data_, bytes_); }

absl::Status ReadCeiling::Move(int64_t bytes) {
  static const SumFunction sum = ChooseSum();
  constexpr size_t kPart = size_t{1} << 20;
  if (bytes < 1 || bytes_ < kPart) {
    return absl::InvalidArgumentError(absl::StrCat(
        "read test: ", bytes, " bytes of a buffer of ", bytes_,
        "; want at least 1 byte, of a buffer of at least ", kPart));
  }
  const size_t parts = bytes_ / kPart;
  const size_t first = next_ / kPart;
  const auto count = static_cast<int64_t>((bytes + kPart - 1) / kPart);
  std::atomic<uint64_t> total{0};
  pool_.Run(count, [&](int64_t part) {
    const size_t begin = (first + part) % parts * kPart;
    const size_t size =
        std::min(kPart, static_cast<size_t>(bytes) - part * kPart);
    total.fetch_add(
        sum(data_ + begin / sizeof(uint64_t), size / sizeof(uint64_t)),
        std::memory_order_relaxed);
  });
  next_ = (first + count) % parts * kPart;
  sum_ += total;
  return absl::OkStatus();
}

double ReadCeiling::Measure(double seconds) {
  using Clock = std::chrono::steady_clock;
  static const SumFunction sum = ChooseSum();
  const int64_t parts = pool_.threads();
  // Whole pages, so that each part begins aligned.
  const size_t words = bytes_ / parts / 4096 * 4096 / sizeof(uint64_t);
  std::atomic<uint64_t> total{0};
  std::vector<double> rates;
  double elapsed = 0;
  do {
    const auto start = Clock::now();
    pool_.Run(parts, [&](int64_t part) {
      total.fetch_add(sum(data_ + part * words, words),
                      std::memory_order_relaxed);
    });
    const double pass =
        std::chrono::duration<double>(Clock::now() - start).count();
    rates.push_back(static_cast<double>(words * sizeof(uint64_t) * parts) /
                    pass);
    elapsed += pass;
  } while (elapsed < seconds);
  sum_ += total;
  return Percentile(rates, 0.5);
}

}  // namespace chela::bench
