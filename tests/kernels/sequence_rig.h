#ifndef CHELA_TESTS_KERNELS_SEQUENCE_RIG_H_
#define CHELA_TESTS_KERNELS_SEQUENCE_RIG_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "tests/support/kernel_test.h"

namespace chela {

// Runs steps of a long convolution on slots whose states start poisoned, with
// poisoned gaps between them.
class SequenceRig {
 public:
  SequenceRig(Backend& backend, int32_t width, int64_t state_floats,
              int32_t slots);
  virtual ~SequenceRig() = default;

  Backend& backend() { return backend_; }
  int32_t width() const { return width_; }

  // One step; the rows of `a` are those of the segments, in order. Returns c.
  std::vector<float> Step(const Rows& rows, const std::vector<float>& a);

  // A sequence from position 0 in `slot`, cut as Split says. Returns c.
  std::vector<float> RunSequence(int32_t slot, const std::vector<float>& a,
                                 const std::vector<int32_t>& sizes);

  std::vector<float> ReadSlot(int32_t slot) const;
  void WriteSlot(int32_t slot, const std::vector<float>& state);
  // The gaps still hold what they were filled with.
  void ExpectGapsUntouched() const;

 protected:
  virtual absl::Status Run(const float* a, const StateView& state,
                           float* c) = 0;

 private:
  static constexpr int64_t kGap = 5;
  Backend& backend_;
  int32_t width_;
  int64_t state_floats_;
  int32_t slots_;
  Tensor states_;
  // Kept between steps, since asking for memory is slower than a small step.
  int64_t capacity_ = 0;
  std::unique_ptr<Tensor> input_;
  std::unique_ptr<Tensor> output_;
};

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_SEQUENCE_RIG_H_
