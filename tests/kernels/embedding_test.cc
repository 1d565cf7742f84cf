#include "kernels/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "kernels/status_macros.h"
#include "tests/reference/rounding.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

absl::Status Embed(Backend& backend, const Matrix& table,
                   const std::vector<int32_t>& tokens, float multiplier,
                   Tensor* out) {
  const Rows batch{{.rows = static_cast<int32_t>(tokens.size())}};
  CHELA_RETURN_IF_ERROR(backend.BeginStep(batch.step()));
  return backend.Run(Embedding{.table = &table,
                               .tokens = tokens.data(),
                               .multiplier = multiplier,
                               .out = out->data()});
}

// Values as the bytes of a checkpoint tensor of `dtype`.
std::string Bytes(const std::vector<float>& values, DType dtype) {
  std::string bytes;
  for (const float value : values) {
    if (dtype == DType::kF32) {
      bytes.append(reinterpret_cast<const char*>(&value), 4);
      continue;
    }
    const uint16_t bits =
        reference::Encode16(dtype, reference::RoundTo(dtype, value));
    bytes.append(reinterpret_cast<const char*>(&bits), 2);
  }
  return bytes;
}

constexpr DType kStoredTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

using EmbeddingTest = KernelTest;

TEST_P(EmbeddingTest, ReturnsTheRowsOfTheTable) {
  const std::vector<int32_t> tokens = {0, 44, 31, 32, 44};
  for (const DType dtype : DTypes()) {
    for (const int64_t width : {1, 7, 33, 64}) {
      SCOPED_TRACE(::testing::Message() << Name(dtype) << " " << width);
      const reference::Matrix table = RandomMatrix(45, width, dtype, 1);
      std::vector<float> want;
      for (const int32_t token : tokens) {
        for (int64_t k = 0; k < width; ++k) {
          want.push_back(static_cast<float>(table.at(token, k)) * 3.5f);
        }
      }
      Tensor out(backend(), static_cast<int64_t>(want.size()));
      ASSERT_TRUE(
          Embed(backend(), *Pack(backend(), table), tokens, 3.5f, &out).ok());
      ExpectSameBits(out.Read(), want);
    }
  }
}

TEST_P(EmbeddingTest, ReadsEveryStoredTypeIntoEveryPackedType) {
  std::vector<float> values = RandomFloats(33 * 5, -100, 100, 2);
  // Limits of the formats: subnormals of both, a tie, the largest float16.
  const float special[] = {0x1p-24f, 0x1.8p-24f, 0x1p-140f, 1 + 0x1p-8f,
                           65504.0f, -0.0f,      0x1p-14f,  1 + 0x1p-11f};
  std::copy(std::begin(special), std::end(special), values.begin());
  for (const DType stored : kStoredTypes) {
    for (const DType packed : kStoredTypes) {
      SCOPED_TRACE(::testing::Message()
                   << Name(stored) << " to " << Name(packed));
      // One byte off, since a checkpoint aligns nothing.
      const std::string bytes = absl::StrCat("x", Bytes(values, stored));
      const MatrixPart part{bytes.data() + 1, stored, 33};
      const auto table = backend().Pack({&part, 1}, 5, packed);
      ASSERT_TRUE(table.ok()) << table.status();
      std::vector<int32_t> tokens;
      std::vector<float> want;
      for (int32_t row = 0; row < 33; ++row) {
        tokens.push_back(row);
        for (int64_t k = 0; k < 5; ++k) {
          want.push_back(static_cast<float>(reference::RoundTo(
              packed, reference::RoundTo(stored, values[row * 5 + k]))));
        }
      }
      Tensor out(backend(), 33 * 5);
      ASSERT_TRUE(Embed(backend(), **table, tokens, 1.0f, &out).ok());
      ExpectSameBits(out.Read(), want);
    }
  }
}

TEST_P(EmbeddingTest, StacksThePartsOfAMatrix) {
  const std::vector<float> a = RandomFloats(3 * 4, -1, 1, 1);
  const std::vector<float> b = RandomFloats(40 * 4, -1, 1, 2);
  const MatrixPart parts[] = {{a.data(), DType::kF32, 3},
                              {b.data(), DType::kF32, 40}};
  const auto table = backend().Pack(parts, 4, DType::kF32);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ((*table)->rows(), 43);
  EXPECT_EQ((*table)->cols(), 4);
  EXPECT_EQ((*table)->dtype(), DType::kF32);
  EXPECT_GE((*table)->size_bytes(), 43u * 4 * 4);
  Tensor out(backend(), 2 * 4);
  ASSERT_TRUE(Embed(backend(), **table, {2, 42}, 1.0f, &out).ok());
  std::vector<float> want = RowsOf(a, 4, 2, 1);
  const std::vector<float> last = RowsOf(b, 4, 39, 1);
  want.insert(want.end(), last.begin(), last.end());
  ExpectSameBits(out.Read(), want);
}

TEST_P(EmbeddingTest, RejectsATokenOutsideTheTableBeforeAnyWrite) {
  const auto table = Pack(backend(), RandomMatrix(10, 4, DType::kBF16, 1));
  for (const int32_t token : {-1, 10, 1 << 30}) {
    SCOPED_TRACE(token);
    Tensor out(backend(), std::vector<float>(8, 7.0f));
    const absl::Status status =
        Embed(backend(), *table, {3, token}, 1.0f, &out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::to_string(token)));
    EXPECT_THAT(std::string(status.message()), HasSubstr("0 to 9"));
    ExpectSameBits(out.Read(), std::vector<float>(8, 7.0f));
  }
}

TEST_P(EmbeddingTest, RejectsAMissingTable) {
  EXPECT_EQ(backend().Run(Embedding{}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(EmbeddingTest, RefusesToPackWhatIsNoMatrix) {
  const float value = 1;
  const MatrixPart good{&value, DType::kF32, 1};
  const MatrixPart no_rows{&value, DType::kF32, 0};
  const MatrixPart no_data{nullptr, DType::kF32, 1};
  const auto code = [&](std::span<const MatrixPart> parts, int64_t cols) {
    return backend().Pack(parts, cols, DType::kBF16).status().code();
  };
  EXPECT_EQ(code({&good, 1}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({}, 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({&no_rows, 1}, 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({&no_data, 1}, 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({&good, 1}, 1), absl::StatusCode::kOk);
}

CHELA_ON_EVERY_BACKEND(EmbeddingTest);

}  // namespace
}  // namespace chela
