#ifndef CHELA_SERVER_TOOLS_BENCH_KERNEL_CASE_DATA_H_
#define CHELA_SERVER_TOOLS_BENCH_KERNEL_CASE_DATA_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/tools/bench/host.h"

namespace chela::bench {

// Copies that together are past the caches; enough of them is enough.
inline int64_t CopiesPastCaches(double bytes) {
  const double wanted = 8.0 * static_cast<double>(LastLevelCacheBytes());
  return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(wanted / bytes)), 1,
                             4096);
}

// Everything that one case works on, shared by the copies of its closure.
// Allocation failures are kept in `status` and checked once at the end.
class CaseData {
 public:
  CaseData(Backend& backend, int32_t rows, int64_t position)
      : backend_(backend), position_(position), segments_(rows) {
    for (int32_t row = 0; row < rows; ++row) segments_[row].first_row = row;
  }

  // `count` random floats of 1/4 to 1, either sign.
  float* Floats(int64_t count) {
    absl::StatusOr<std::unique_ptr<Buffer>> buffer =
        backend_.Allocate(static_cast<size_t>(count) * sizeof(float));
    if (!buffer.ok()) return Fail(buffer.status());
    std::vector<float> values(count);
    for (float& value : values) {
      const auto bits = static_cast<uint32_t>(random_());
      value = 0.25f + 0x1p-25f * static_cast<float>(bits >> 8);
      if ((bits & 1) != 0) value = -value;
    }
    float* const data = static_cast<float*>((*buffer)->data());
    const absl::Status status =
        backend_.Upload(values.data(), data, values.size() * sizeof(float));
    if (!status.ok()) return Fail(status);
    buffers_.push_back(*std::move(buffer));
    return data;
  }

  // `count` decays of 0.9 to 1.
  float* Decays(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) {
      value = 1.0f - 0x1p-36f * static_cast<float>(random_() >> 4);
    }
    float* const data = Floats(count);
    if (data == nullptr) return nullptr;
    const absl::Status status =
        backend_.Upload(values.data(), data, values.size() * sizeof(float));
    return status.ok() ? data : Fail(status);
  }

  // Copies of one random bf16 matrix, 1/128 to 1/32, either sign.
  void AddMatrices(int64_t rows, int64_t cols, int64_t copies,
                   std::vector<std::unique_ptr<Matrix>>* matrices) {
    std::vector<uint16_t> values(rows * cols);
    for (uint16_t& value : values) {
      value = static_cast<uint16_t>((random_() & 0x80ff) | 0x3c00);
    }
    const MatrixPart part = {values.data(), DType::kBF16, rows};
    for (int64_t copy = 0; copy < copies; ++copy) {
      absl::StatusOr<std::unique_ptr<Matrix>> matrix =
          backend_.Pack({&part, 1}, cols, DType::kBF16);
      if (!matrix.ok()) {
        Fail(matrix.status());
        return;
      }
      matrices->push_back(*std::move(matrix));
    }
  }

  // Begins a step of decode rows, each sequence one token further than in the
  // call before, in the slots of copy `copy`.
  absl::Status BeginStep(int64_t call, int64_t copy) {
    const auto rows = static_cast<int32_t>(segments_.size());
    for (int32_t row = 0; row < rows; ++row) {
      segments_[row].rows = 1;
      segments_[row].slot = static_cast<int32_t>(copy * rows + row);
      segments_[row].position = position_ + call;
    }
    return backend_.BeginStep({segments_, rows});
  }

  Backend& backend() { return backend_; }
  const absl::Status& status() const { return status_; }

  std::vector<std::unique_ptr<Matrix>> first;
  std::vector<std::unique_ptr<Matrix>> second;
  std::vector<int32_t> row_ids;

 private:
  float* Fail(const absl::Status& status) {
    status_.Update(status);
    return nullptr;
  }

  Backend& backend_;
  int64_t position_;
  std::vector<Segment> segments_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::mt19937 random_{5};
  absl::Status status_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_KERNEL_CASE_DATA_H_
