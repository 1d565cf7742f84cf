#ifndef CHELA_TESTS_SUPPORT_KERNEL_TEST_H_
#define CHELA_TESTS_SUPPORT_KERNEL_TEST_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/matrix.h"
#include "tests/reference/real.h"
#include "tests/reference/value.h"

namespace chela {

// What outputs and unused slots are filled with: no kernel may read them, and
// each must overwrite its outputs.
inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// A backend to test, by name ("Avx2").
struct BackendCase {
  const char* name = "";
  BackendOptions options;
};
std::ostream& operator<<(std::ostream& out, const BackendCase& backend);

// The CPU backend with each kernel set, computing on two threads.
std::vector<BackendCase> EveryCpuBackend();
// Those and CUDA.
std::vector<BackendCase> EveryBackend();

// A test that runs once on every backend; skipped, and saying so, where the
// machine lacks it.
class KernelTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override;

  // Computes on two threads.
  Backend& backend() { return *backend_; }
  // The types of matrices that it packs.
  static std::vector<DType> DTypes();
  // Another backend of the same kind and kernel set.
  std::unique_ptr<Backend> MakeWith(int32_t threads) const;

 private:
  std::unique_ptr<Backend> backend_;
};

#define CHELA_ON_BACKENDS(Suite, backends)                             \
  INSTANTIATE_TEST_SUITE_P(                                            \
      Kernels, Suite, ::testing::ValuesIn(backends),                   \
      [](const ::testing::TestParamInfo<::chela::BackendCase>& test) { \
        return std::string(test.param.name);                           \
      })
#define CHELA_ON_EVERY_BACKEND(Suite) \
  CHELA_ON_BACKENDS(Suite, ::chela::EveryBackend())
// For what only the CPU backend has.
#define CHELA_ON_EVERY_CPU_BACKEND(Suite) \
  CHELA_ON_BACKENDS(Suite, ::chela::EveryCpuBackend())

// Floats in a backend's memory.
class Tensor {
 public:
  Tensor(Backend& backend, const std::vector<float>& values);
  // `size` poisoned floats.
  Tensor(Backend& backend, int64_t size);

  float* data() { return static_cast<float*>(buffer_->data()); }
  std::vector<float> Read() const;

 private:
  Backend* backend_;
  std::unique_ptr<Buffer> buffer_;
};

// Uniform in [low, high), the same for the same seed.
std::vector<float> RandomFloats(int64_t size, float low, float high,
                                uint32_t seed);

// A random matrix, entries in [-1, 1) that `dtype` holds.
reference::Matrix RandomMatrix(int64_t rows, int64_t cols, DType dtype,
                               uint32_t seed);
// The same matrix packed for a backend.
std::unique_ptr<Matrix> Pack(Backend& backend, const reference::Matrix& matrix);

// Segments one after the other: rows, slot and position are taken from `list`,
// first_row is filled in.
struct Rows {
  explicit Rows(std::vector<Segment> list);
  Rows(std::initializer_list<Segment> list)
      : Rows(std::vector<Segment>(list)) {}
  StepRows step() const { return {segments, count}; }

  std::vector<Segment> segments;
  int32_t count = 0;
};

// What a step's rows are, on which a backend may base how it computes them.
enum class RowKind {
  kDecode,  // each the one token of a sequence of its own
  kChunk,   // all of them a piece of one prompt
};
inline constexpr RowKind kRowKinds[] = {RowKind::kDecode, RowKind::kChunk};
Rows MakeRows(int64_t count, RowKind kind);

// One sequence of `total` tokens in `slot`, from position 0, cut into steps of
// the given sizes (the last size goes on to the end).
std::vector<Segment> Split(int32_t slot, int32_t total,
                           const std::vector<int32_t>& sizes);

// Rows [first, first + rows) of a matrix of `width` columns.
std::vector<float> RowsOf(const std::vector<float>& values, int64_t width,
                          int64_t first, int64_t rows);

// Expects |got - want.value| <= roundings * 2^-24 * want.magnitude, element by
// element: the most that so many float32 roundings can do to terms of that
// size. Magnitude 0 therefore means equal.
void ExpectClose(const std::vector<float>& got,
                 const std::vector<reference::Value>& want, int roundings);

// Expects |got - want.value| <= want.error, element by element.
void ExpectWithin(const std::vector<float>& got,
                  const std::vector<reference::Real>& want);

// Expects the same bits, NaN included.
void ExpectSameBits(const std::vector<float>& got,
                    const std::vector<float>& want);

}  // namespace chela

#endif  // CHELA_TESTS_SUPPORT_KERNEL_TEST_H_
