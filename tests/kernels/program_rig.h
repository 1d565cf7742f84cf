#ifndef CHELA_TESTS_KERNELS_PROGRAM_RIG_H_
#define CHELA_TESTS_KERNELS_PROGRAM_RIG_H_

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/support/kernel_test.h"

namespace chela {

// Decode steps of a few ops as one program, which a GPU records and whose parts
// it may move, or op by op.
class ProgramRig {
 public:
  ProgramRig(Backend& backend, int32_t rows, int32_t width)
      : backend_(backend),
        rows_(rows),
        width_(width),
        input_(backend, int64_t{rows} * width) {}
  virtual ~ProgramRig() = default;

  // A token for each row, in slots 0, 1 .. at positions that are `apart`. The
  // input is the same for the same position. Returns all outputs.
  std::vector<float> Step(int64_t position, int64_t apart, bool as_program) {
    std::vector<Segment> segments;
    std::vector<int32_t> ids;
    for (int32_t row = 0; row < rows_; ++row) {
      segments.push_back({.slot = row,
                          .first_row = row,
                          .rows = 1,
                          .position = position + row * apart});
      ids.push_back(row);
    }
    const auto values = RandomFloats(int64_t{rows_} * width_, -1, 1,
                                     static_cast<uint32_t>(position));
    absl::Status status = backend_.Upload(values.data(), input_.data(),
                                          values.size() * sizeof(float));
    const StepRows rows = {segments, rows_};
    const auto ops = [this] { return Run(); };
    if (as_program) {
      status.Update(backend_.RunStep(rows, {.id = id_,
                                            .tokens = ids,
                                            .logits_rows = ids,
                                            .draws = {},
                                            .ops = ops}));
    } else {
      status.Update(backend_.BeginStep(rows));
      status.Update(Run());
    }
    EXPECT_TRUE(status.ok()) << status;
    return Outputs();
  }

 protected:
  virtual absl::Status Run() = 0;
  virtual std::vector<float> Outputs() = 0;

  Backend& backend() { return backend_; }
  int32_t rows() const { return rows_; }
  const float* input() { return input_.data(); }

 private:
  Backend& backend_;
  const int32_t rows_;
  const int32_t width_;
  Tensor input_;
  // Programs of other tests count from 1.
  inline static uint64_t next_id_ = uint64_t{1} << 40;
  const uint64_t id_ = next_id_++;
};

// The same steps both ways: from the start on for `first` tokens, then at
// positions far away, whatever the states hold.
inline void ExpectProgramIsItsOps(ProgramRig& program, ProgramRig& ops,
                                  int64_t first) {
  const auto same = [&](int64_t position, int64_t apart) {
    SCOPED_TRACE(position);
    const auto got = program.Step(position, apart, true);
    ExpectSameBits(got, ops.Step(position, apart, false));
    return !::testing::Test::HasFailure();
  };
  for (int64_t position = 0; position < first; ++position) {
    if (!same(position, 0)) return;
  }
  for (int64_t position = 4000; position < 4070; ++position) {
    if (!same(position, 37)) return;
  }
}

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_PROGRAM_RIG_H_
