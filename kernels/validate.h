#ifndef CHELA_KERNELS_VALIDATE_H_
#define CHELA_KERNELS_VALIDATE_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace chela {

// The checks that every backend makes before it touches memory: the scalars of
// an op, that its matrices fit together, and host arrays that come from
// requests. INVALID_ARGUMENT with what was got and what was wanted.
//
// Threads: stateless.
absl::Status Validate(const StepRows& rows);
absl::Status ValidatePack(std::span<const MatrixPart> parts, int64_t cols);
absl::Status Validate(const Embedding& op, const StepRows& step);
absl::Status Validate(const ShortConvolution& op);
absl::Status Validate(const HierarchicalConvolution& op);
absl::Status Validate(const ExplicitConvolution& op);
absl::Status Validate(const Linear& op);
absl::Status Validate(const LinearAttention& op);
absl::Status Validate(const GatedOutput& op);
absl::Status Validate(const FeedForward& op);
absl::Status Validate(const LogitsHead& op, const StepRows& step);
absl::Status Validate(const DrawInputs& inputs, int32_t vocab);
absl::Status Validate(const Draw& op);

}  // namespace chela

#endif  // CHELA_KERNELS_VALIDATE_H_
