#include "kernels/short_convolution.h"

#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Where the token at `position` of a sequence keeps its u in the ring.
float* RingRow(const ShortConvolution& op, const Segment& segment,
               int64_t position) {
  return op.state.data + segment.slot * op.state.slot_stride +
         position % (op.taps - 1) * op.width;
}

// The rows u_t, u_{t-1} .. that the convolution of row `row` of a segment
// reads: from this step, from the ring before it, null before the sequence.
void FindInputs(const ShortConvolution& op, const Segment& segment, int64_t row,
                const float** inputs) {
  for (int64_t m = 0; m < op.taps; ++m) {
    const int64_t position = segment.position + row - m;
    if (position < 0) {
      inputs[m] = nullptr;
    } else if (m <= row) {
      inputs[m] = op.u + (segment.first_row + row - m) * op.width;
    } else {
      inputs[m] = RingRow(op, segment, position);
    }
  }
}

// Keeps the segment's last taps - 1 rows. A new sequence also clears the rows
// it has not reached, so that nothing of the slot's last owner is ever saved
// with it.
void UpdateRing(const ShortConvolution& op, const Segment& segment) {
  const int64_t ring = op.taps - 1;
  if (segment.position == 0) {
    for (int64_t row = segment.rows; row < ring; ++row) {
      std::fill_n(RingRow(op, segment, row), op.width, 0.0f);
    }
  }
  for (int64_t row = std::max<int64_t>(segment.rows - ring, 0);
       row < segment.rows; ++row) {
    std::copy_n(op.u + (segment.first_row + row) * op.width, op.width,
                RingRow(op, segment, segment.position + row));
  }
}

}  // namespace

absl::Status CpuBackend::Run(const ShortConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  const int64_t width = op.width;
  const auto inputs_size = static_cast<int64_t>(op.taps);
  const float** inputs = pointers_.Get<const float*>(step_.rows * inputs_size);
  if (inputs == nullptr && step_.rows > 0) {
    return absl::ResourceExhaustedError("CPU memory: none for row pointers");
  }
  for (const Segment& segment : step_.segments) {
    for (int64_t row = 0; row < segment.rows; ++row) {
      FindInputs(op, segment, row,
                 inputs + (segment.first_row + row) * inputs_size);
    }
  }
  const auto normalize = [&](int64_t row) {
    NormalizeTo(op.norm, op.x + row * width, width, op.u + row * width);
  };
  const auto convolve = [&](int64_t row) {
    kernels_.short_convolution({.width = width,
                                .taps = op.taps,
                                .u = inputs + row * inputs_size,
                                .weight = op.weight,
                                .bias = op.bias,
                                .a = op.a + row * width});
  };
  const int64_t norm_work = width;
  const int64_t convolution_work = width * (op.taps + 4) / 4;
  const auto segments = static_cast<int64_t>(step_.segments.size());
  if (segments == step_.rows) {
    // No row reads another one's u: each goes through all of it.
    ForRanges(segments, 2 * norm_work + convolution_work,
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  const Segment& segment = step_.segments[i];
                  normalize(segment.first_row);
                  convolve(segment.first_row);
                  if (op.taps > 1) UpdateRing(op, segment);
                }
              });
    return absl::OkStatus();
  }
  ForRanges(step_.rows, norm_work, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) normalize(row);
  });
  ForRanges(step_.rows, convolution_work, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) convolve(row);
  });
  if (op.taps == 1) return absl::OkStatus();
  ForRanges(segments, norm_work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) UpdateRing(op, step_.segments[i]);
  });
  return absl::OkStatus();
}

}  // namespace chela
