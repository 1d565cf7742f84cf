#include "tests/support/kernel_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <random>
#include <utility>

#include "tests/reference/rounding.h"

namespace chela {
namespace {

// A backend that a machine may lack. CHELA_REQUIRE_DEVICES turns the lack into
// a failure, so that a run meant for a device cannot pass without it.
bool IsMissing(const absl::Status& status) {
  return status.code() == absl::StatusCode::kNotFound ||
         status.code() == absl::StatusCode::kUnavailable;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const BackendCase& backend) {
  return out << backend.name;
}

std::vector<BackendCase> EveryCpuBackend() {
  const auto cpu = [](const char* name, CpuKernels set) {
    BackendCase backend{.name = name, .options = {}};
    backend.options.threads = 2;
    backend.options.max_kernels = set;
    return backend;
  };
  return {cpu("generic", CpuKernels::kGeneric), cpu("avx2", CpuKernels::kAvx2),
          cpu("avx512", CpuKernels::kAvx512),
          cpu("avx512_bf16", CpuKernels::kAvx512Bf16)};
}

std::vector<BackendCase> EveryBackend() {
  std::vector<BackendCase> backends = EveryCpuBackend();
  BackendCase cuda{.name = "cuda", .options = {}};
  cuda.options.kind = BackendKind::kCuda;
  backends.push_back(cuda);
  return backends;
}

std::vector<DType> KernelTest::DTypes() {
  std::vector<DType> dtypes = {DType::kF32, DType::kBF16, DType::kF16};
  if (GetParam().options.kind == BackendKind::kCpu) {
    dtypes.push_back(DType::kI8);
  }
  return dtypes;
}

void KernelTest::SetUp() {
  absl::StatusOr<std::unique_ptr<Backend>> made =
      MakeBackend(GetParam().options);
  if (!made.ok()) {
    if (IsMissing(made.status()) &&
        std::getenv("CHELA_REQUIRE_DEVICES") == nullptr) {
      GTEST_SKIP() << made.status();
    }
    FAIL() << made.status();
  }
  backend_ = *std::move(made);
  if (GetParam().options.kind == BackendKind::kCpu &&
      backend_->Info().kernels != GetParam().name) {
    GTEST_SKIP() << "this processor has no " << GetParam().name
                 << " kernels, the best below are " << backend_->Info().kernels;
  }
}

std::unique_ptr<Backend> KernelTest::MakeWith(int32_t threads) const {
  BackendOptions options = GetParam().options;
  options.threads = threads;
  absl::StatusOr<std::unique_ptr<Backend>> made = MakeBackend(options);
  EXPECT_TRUE(made.ok()) << made.status();
  return made.ok() ? *std::move(made) : nullptr;
}

Tensor::Tensor(Backend& backend, const std::vector<float>& values)
    : backend_(&backend) {
  // Never empty: a null pointer would hide a wrong access.
  const size_t bytes = values.size() * sizeof(float);
  buffer_ = *backend.Allocate(std::max(bytes, sizeof(float)));
  const absl::Status status = backend.Upload(values.data(), data(), bytes);
  EXPECT_TRUE(status.ok()) << status;
}

Tensor::Tensor(Backend& backend, int64_t size)
    : Tensor(backend, std::vector<float>(static_cast<size_t>(size), kPoison)) {}

std::vector<float> Tensor::Read() const {
  std::vector<float> values(buffer_->size_bytes() / sizeof(float));
  const absl::Status status = backend_->Download(buffer_->data(), values.data(),
                                                 values.size() * sizeof(float));
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

std::vector<float> RandomFloats(int64_t size, float low, float high,
                                uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = uniform(rng);
  return values;
}

reference::Matrix RandomMatrix(int64_t rows, int64_t cols, DType dtype,
                               uint32_t seed) {
  reference::Matrix matrix{rows, cols, dtype,
                           RandomFloats(rows * cols, -1, 1, seed)};
  if (dtype == DType::kI8) {
    // Integers times a power of two, the largest of a row 127 of it: what
    // packing makes of them is the same again.
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float scale = std::ldexp(1.0f, static_cast<int>(i / cols % 5) - 9);
      float& value = matrix.values[static_cast<size_t>(i)];
      value = i % cols == 0 ? 127 * scale : std::round(127 * value) * scale;
    }
    return matrix;
  }
  for (float& value : matrix.values) {
    value = static_cast<float>(reference::RoundTo(dtype, value));
  }
  return matrix;
}

std::unique_ptr<Matrix> Pack(Backend& backend,
                             const reference::Matrix& matrix) {
  const MatrixPart part{matrix.values.data(), DType::kF32, matrix.rows};
  absl::StatusOr<std::unique_ptr<Matrix>> packed =
      backend.Pack({&part, 1}, matrix.cols, matrix.dtype);
  EXPECT_TRUE(packed.ok()) << packed.status();
  return packed.ok() ? *std::move(packed) : nullptr;
}

Rows::Rows(std::vector<Segment> list) : segments(std::move(list)) {
  for (Segment& segment : segments) {
    segment.first_row = count;
    count += segment.rows;
  }
}

Rows MakeRows(int64_t count, RowKind kind) {
  if (kind == RowKind::kChunk) {
    return Rows{{.rows = static_cast<int32_t>(count)}};
  }
  std::vector<Segment> list;
  for (int32_t slot = 0; slot < count; ++slot) {
    list.push_back({.slot = slot, .rows = 1});
  }
  return Rows(std::move(list));
}

std::vector<Segment> Split(int32_t slot, int32_t total,
                           const std::vector<int32_t>& sizes) {
  std::vector<Segment> parts;
  int32_t position = 0;
  for (size_t i = 0; position < total; ++i) {
    const int32_t size = sizes[std::min(i, sizes.size() - 1)];
    const int32_t rows = std::min(size, total - position);
    parts.push_back({.slot = slot, .rows = rows, .position = position});
    position += rows;
  }
  return parts;
}

std::vector<float> RowsOf(const std::vector<float>& values, int64_t width,
                          int64_t first, int64_t rows) {
  return {values.begin() + first * width,
          values.begin() + (first + rows) * width};
}

void ExpectClose(const std::vector<float>& got,
                 const std::vector<reference::Value>& want, int roundings) {
  std::vector<reference::Real> bounds;
  for (const reference::Value& value : want) {
    bounds.emplace_back(value.value, roundings * 0x1p-24 * value.magnitude);
  }
  ExpectWithin(got, bounds);
}

void ExpectWithin(const std::vector<float>& got,
                  const std::vector<reference::Real>& want) {
  ASSERT_EQ(got.size(), want.size());
  int64_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::abs(got[i] - want[i].value);
    // Written so that NaN is wrong; equal infinities are not.
    if (off <= want[i].error || got[i] == want[i].value) continue;
    if (++wrong <= 5) {
      ADD_FAILURE() << "element " << i << ": got " << got[i] << ", want "
                    << want[i].value << " within " << want[i].error << ", off "
                    << off;
    }
  }
  EXPECT_EQ(wrong, 0) << "of " << got.size() << " elements";
}

void ExpectSameBits(const std::vector<float>& got,
                    const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << "element " << i << ": got " << got[i] << ", want " << want[i];
  }
}

}  // namespace chela
