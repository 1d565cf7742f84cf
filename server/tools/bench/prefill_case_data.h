#ifndef CHELA_SERVER_TOOLS_BENCH_PREFILL_CASE_DATA_H_
#define CHELA_SERVER_TOOLS_BENCH_PREFILL_CASE_DATA_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/kernel_case_data.h"
#include "server/tools/bench/prefill_cases.h"

namespace chela::bench {

// The memory of a prefill case and the copies that its calls take turns with.
class PrefillData {
 public:
  // `bytes`: input, output and state of one call.
  PrefillData(Backend& backend, const PrefillShape& shape, double bytes)
      : data_(backend, 1, 0), shape_(shape), bytes_(bytes) {
    constexpr double kPastCaches = 512e6;
    copies_ = std::clamp<int64_t>(
        static_cast<int64_t>(std::ceil(kPastCaches / bytes)), 2, 64);
    // A step of some milliseconds: waiting for its end costs 20 us.
    constexpr double kStep = 4e9;  // bytes
    const int64_t rounds = std::max<int64_t>(
        1,
        static_cast<int64_t>(kStep / (bytes * static_cast<double>(copies_))));
    calls_ = backend.Info().name == "cpu" ? 1 : rounds * copies_;
  }

  int64_t copies() const { return copies_; }
  float* Floats(int64_t count) { return data_.Floats(count); }

  // Makes the case: run_copy(i) runs the op on copy i. `result`: some float
  // that the op writes.
  KernelCase Case(std::string op, std::string shape, const float* result,
                  std::shared_ptr<PrefillData> self,
                  std::function<absl::Status(int64_t)> run_copy) {
    KernelCase made;
    made.op = std::move(op);
    made.shape = std::move(shape);
    made.bytes = bytes_ * static_cast<double>(calls_);
    made.calls = calls_;
    made.run = [self = std::move(self), run_copy = std::move(run_copy),
                result](int64_t step) -> absl::Status {
      PrefillData& data = *self;
      Backend& backend = data.data_.backend();
      const std::vector<Segment> segments = data.shape_.Segments();
      CHELA_RETURN_IF_ERROR(backend.BeginStep(
          {segments, static_cast<int32_t>(data.shape_.rows())}));
      for (int64_t i = 0; i < data.calls_; ++i) {
        CHELA_RETURN_IF_ERROR(
            run_copy((step * data.calls_ + i) % data.copies_));
      }
      float last = 0;
      return backend.Download(result, &last, sizeof(last));
    };
    return made;
  }
  const absl::Status& status() const { return data_.status(); }
  Backend& backend() { return data_.backend(); }

 private:
  CaseData data_;
  PrefillShape shape_;
  double bytes_;
  int64_t copies_;
  int64_t calls_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PREFILL_CASE_DATA_H_
