#ifndef CHELA_SERVER_STATE_BUDGET_H_
#define CHELA_SERVER_STATE_BUDGET_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela {

// What states must leave free of a device's memory: an eighth, 1 GiB at most.
// Prompts, answers and working memory of steps come later, and a machine
// without any is lost to everybody on it.
int64_t ReservedBytes(int64_t free_bytes);

// How many states are allocated by default: a quarter of the free memory on a
// CPU, which others use too, and at most 256 of them; on a GPU what
// CheckSequences allows, nine tenths at most, and at most 1024.
// RESOURCE_EXHAUSTED if not one fits.
absl::StatusOr<int32_t> DefaultSequences(int64_t free_bytes,
                                         int64_t state_bytes, bool gpu);

// Host memory that the prefix cache may take by default, beside the slots that
// nobody needs: a quarter of the pools' bytes, at most a sixteenth of the free
// memory.
int64_t DefaultPrefixCacheBytes(int64_t free_bytes, int64_t pool_bytes);

// RESOURCE_EXHAUSTED, saying what was asked, what is free and what would fit,
// unless `sequences` states leave ReservedBytes free.
absl::Status CheckSequences(int32_t sequences, int64_t free_bytes,
                            int64_t state_bytes);

// What the process may hold in memory once the model is loaded on a CPU: 1.25 x
// (packed weights, kernels and spectra + all states) + 200 MB for programs,
// libraries, activations and working memory.
int64_t ResidentBound(int64_t weight_bytes, int64_t state_bytes);

}  // namespace chela

#endif  // CHELA_SERVER_STATE_BUDGET_H_
