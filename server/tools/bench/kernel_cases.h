#ifndef CHELA_SERVER_TOOLS_BENCH_KERNEL_CASES_H_
#define CHELA_SERVER_TOOLS_BENCH_KERNEL_CASES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"

namespace chela::bench {

// One op of a layer with everything it works on.
struct KernelCase {
  std::string op;     // "projections"
  std::string shape;  // "2688 x 768"
  double bytes = 0;   // what one run must move
  // The call, on the weights and states of copy i mod copies.
  std::function<absl::Status(int64_t i)> run;
  int64_t calls = 1;  // of the op in one run
};

// The ops of one layer of `config`, and the head, for steps of `rows` decode
// rows at `position`, with random weights and finite non-zero states. `backend`
// must outlive them. Each op calls BeginStep itself. With `only`, just the op
// of that name: INVALID_ARGUMENT if there is none. RESOURCE_EXHAUSTED if they
// do not fit.
absl::StatusOr<std::vector<KernelCase>> MakeKernelCases(
    Backend& backend, const ModelConfig& config, int32_t rows, int64_t position,
    std::string_view only = "");

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_KERNEL_CASES_H_
