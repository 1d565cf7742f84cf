#include "server/state_budget.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

constexpr int64_t kMaxCpuSequences = 256;
constexpr int64_t kMaxGpuSequences = 1024;

}  // namespace

int64_t ReservedBytes(int64_t free_bytes) {
  return std::min(free_bytes / 8, int64_t{1} << 30);
}

absl::StatusOr<int32_t> DefaultSequences(int64_t free_bytes,
                                         int64_t state_bytes, bool gpu) {
  const int64_t budget = gpu ? std::min(free_bytes / 10 * 9,
                                        free_bytes - ReservedBytes(free_bytes))
                             : free_bytes / 4;
  const int64_t fit = budget / state_bytes;
  if (fit < 1) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "--max-sequences: one state needs ", state_bytes, " bytes, ",
        free_bytes, " are free and ", budget,
        " of them may be used; want a machine with more memory or an explicit "
        "number"));
  }
  return static_cast<int32_t>(
      std::min(fit, gpu ? kMaxGpuSequences : kMaxCpuSequences));
}

int64_t DefaultPrefixCacheBytes(int64_t free_bytes, int64_t pool_bytes) {
  return std::min(pool_bytes / 4, free_bytes / 16);
}

absl::Status CheckSequences(int32_t sequences, int64_t free_bytes,
                            int64_t state_bytes) {
  const int64_t reserve = ReservedBytes(free_bytes);
  const int64_t fit = (free_bytes - reserve) / state_bytes;
  if (sequences <= fit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("--max-sequences: ", sequences, " states of ", state_bytes,
                   " bytes asked; ", free_bytes, " bytes are free, ", reserve,
                   " of them kept for requests; want at most ", fit));
}

int64_t ResidentBound(int64_t weight_bytes, int64_t state_bytes) {
  return (weight_bytes + state_bytes) / 4 * 5 + 200'000'000;
}

}  // namespace chela
