#ifndef CHELA_KERNELS_STEP_H_
#define CHELA_KERNELS_STEP_H_

#include <cstdint>
#include <span>

namespace chela {

// Consecutive tokens of one sequence inside one step. A decode row is a
// segment of one token.
struct Segment {
  int32_t slot = 0;       // where the sequence's state lives, in [0, slots)
  int32_t first_row = 0;  // of its tokens in the step's activations
  int32_t rows = 0;       // >= 1
  int64_t position = 0;   // of the first token in its sequence, from 0; at 0
                          // an op starts from the zero state, whatever the
                          // slot holds
};

// The rows of one step. Segments cover rows [0, rows) in order, without gaps;
// their slots are distinct. The state pool and the planner guarantee it; the
// backend checks the scalars.
struct StepRows {
  std::span<const Segment> segments;
  int32_t rows = 0;  // 0 does nothing
};

// One part of the recurrent states: the part of slot s begins at
// data + s * slot_stride. Float32 always.
struct StateView {
  float* data = nullptr;
  int64_t slot_stride = 0;  // floats from one slot to the next
};

// A matrix of activations [rows, width] whose rows are `stride` floats apart.
struct RowView {
  const float* data = nullptr;
  int64_t stride = 0;
};

}  // namespace chela

#endif  // CHELA_KERNELS_STEP_H_
