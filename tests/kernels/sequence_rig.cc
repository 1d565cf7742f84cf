#include "tests/kernels/sequence_rig.h"

#include <cmath>

namespace chela {

SequenceRig::SequenceRig(Backend& backend, int32_t width, int64_t state_floats,
                         int32_t slots)
    : backend_(backend),
      width_(width),
      state_floats_(state_floats),
      slots_(slots),
      states_(backend, slots * (state_floats + kGap)) {}

std::vector<float> SequenceRig::Step(const Rows& rows,
                                     const std::vector<float>& a) {
  if (input_ == nullptr || static_cast<int64_t>(a.size()) > capacity_) {
    capacity_ = static_cast<int64_t>(a.size());
    input_ = std::make_unique<Tensor>(backend_, capacity_);
    output_ = std::make_unique<Tensor>(backend_, capacity_);
  }
  std::vector<float> c(a.size(), kPoison);
  const size_t bytes = a.size() * sizeof(float);
  const StateView state = {states_.data(), state_floats_ + kGap};
  absl::Status status = backend_.Upload(a.data(), input_->data(), bytes);
  status.Update(backend_.Upload(c.data(), output_->data(), bytes));
  status.Update(backend_.BeginStep(rows.step()));
  status.Update(Run(input_->data(), state, output_->data()));
  status.Update(backend_.Download(output_->data(), c.data(), bytes));
  EXPECT_TRUE(status.ok()) << status;
  return c;
}

std::vector<float> SequenceRig::RunSequence(int32_t slot,
                                            const std::vector<float>& a,
                                            const std::vector<int32_t>& sizes) {
  std::vector<float> all;
  const int32_t total = static_cast<int32_t>(a.size()) / width_;
  for (const Segment& part : Split(slot, total, sizes)) {
    const std::vector<float> c =
        Step(Rows({part}), RowsOf(a, width_, part.position, part.rows));
    all.insert(all.end(), c.begin(), c.end());
  }
  return all;
}

std::vector<float> SequenceRig::ReadSlot(int32_t slot) const {
  const std::vector<float> all = states_.Read();
  const auto begin = all.begin() + slot * (state_floats_ + kGap);
  return {begin, begin + state_floats_};
}

void SequenceRig::WriteSlot(int32_t slot, const std::vector<float>& state) {
  const absl::Status status = backend_.Upload(
      state.data(), states_.data() + slot * (state_floats_ + kGap),
      static_cast<size_t>(state_floats_) * sizeof(float));
  EXPECT_TRUE(status.ok()) << status;
}

void SequenceRig::ExpectGapsUntouched() const {
  const std::vector<float> all = states_.Read();
  for (int32_t slot = 0; slot < slots_; ++slot) {
    for (int64_t i = state_floats_; i < state_floats_ + kGap; ++i) {
      EXPECT_TRUE(std::isnan(all[slot * (state_floats_ + kGap) + i]))
          << "slot " << slot << ", float " << i << " of " << state_floats_;
    }
  }
}

}  // namespace chela
