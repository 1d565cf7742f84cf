#include "kernels/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

using BackendTest = KernelTest;

TEST_P(BackendTest, SaysWhatItRunsOn) {
  const BackendInfo info = backend().Info();
  EXPECT_FALSE(info.name.empty());
  EXPECT_FALSE(info.device.empty());
  EXPECT_FALSE(info.kernels.empty());
  EXPECT_GE(info.threads, 1);
  EXPECT_GT(backend().FreeBytes(), 0);
}

TEST_P(BackendTest, AllocatesZeroedAlignedMemory) {
  for (const size_t bytes : {1, 255, 4096, 9 << 20}) {
    auto buffer = backend().Allocate(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ((*buffer)->size_bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % 256, 0u);
    std::vector<char> host(bytes, 'x');
    ASSERT_TRUE(backend().Download((*buffer)->data(), host.data(), bytes).ok());
    EXPECT_EQ(std::count(host.begin(), host.end(), '\0'),
              static_cast<int64_t>(bytes));
  }
}

TEST_P(BackendTest, GivesAnEmptyBufferForNoBytes) {
  auto buffer = backend().Allocate(0);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ((*buffer)->size_bytes(), 0u);
  EXPECT_TRUE(backend().Upload(nullptr, nullptr, 0).ok());
  EXPECT_TRUE(backend().Copy(nullptr, nullptr, 0).ok());
}

TEST_P(BackendTest, SaysWhatWasAskedAndWhatWasFreeWhenMemoryIsFull) {
  const size_t too_much = size_t{1} << 60;
  const absl::Status status = backend().Allocate(too_much).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(std::to_string(too_much)));
  EXPECT_THAT(std::string(status.message()), HasSubstr("free"));
}

TEST_P(BackendTest, CopiesWithinItsMemory) {
  const std::vector<float> values = RandomFloats(1000, -1, 1, 1);
  Tensor from(backend(), values);
  Tensor to(backend(), 1000);
  ASSERT_TRUE(backend().Copy(from.data(), to.data(), 4000).ok());
  ExpectSameBits(to.Read(), values);
}

TEST_P(BackendTest, ClearsWhatItIsToldToAndNothingBesideIt) {
  std::vector<float> values = RandomFloats(1000, 1, 2, 1);
  Tensor memory(backend(), values);
  ASSERT_TRUE(backend().Clear(memory.data() + 100, 2000).ok());
  EXPECT_TRUE(backend().Clear(memory.data(), 0).ok());
  std::fill_n(values.begin() + 100, 500, 0.0f);
  ExpectSameBits(memory.Read(), values);
}

TEST_P(BackendTest, RejectsStepsWhoseSegmentsDoNotCoverTheRows) {
  const auto begin = [&](std::vector<Segment> segments, int32_t rows) {
    const absl::Status status = backend().BeginStep({segments, rows});
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("want"));
    }
    return status.code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(begin({{.first_row = 0, .rows = 2}}, 2), absl::StatusCode::kOk);
  EXPECT_EQ(begin({}, 0), absl::StatusCode::kOk);
  EXPECT_EQ(begin({}, -1), kInvalid);
  EXPECT_EQ(begin({}, 1), kInvalid);
  EXPECT_EQ(begin({{.first_row = 0, .rows = 2}}, 3), kInvalid);
  EXPECT_EQ(begin({{.first_row = 1, .rows = 2}}, 2), kInvalid);
  EXPECT_EQ(begin({{.first_row = 0, .rows = 0}}, 0), kInvalid);
  EXPECT_EQ(begin({{.slot = -1, .first_row = 0, .rows = 1}}, 1), kInvalid);
  EXPECT_EQ(begin({{.first_row = 0, .rows = 1, .position = -1}}, 1), kInvalid);
  EXPECT_EQ(begin({{.first_row = 0, .rows = 1}, {.slot = 1, .rows = 1}}, 2),
            kInvalid);
}

TEST_P(BackendTest, KeepsTheLastStepWhenItRejectsOne) {
  const Rows good{{.rows = 1}};
  ASSERT_TRUE(backend().BeginStep(good.step()).ok());
  ASSERT_FALSE(backend().BeginStep({{}, 5}).ok());
  const auto table = Pack(backend(), RandomMatrix(3, 2, DType::kF32, 1));
  const int32_t token = 1;
  Tensor out(backend(), 2);
  EXPECT_TRUE(
      backend()
          .Run(Embedding{
              .table = table.get(), .tokens = &token, .out = out.data()})
          .ok());
}

CHELA_ON_EVERY_BACKEND(BackendTest);

TEST(CpuBackendTest, UsesNoBetterKernelsThanItMay) {
  for (const BackendCase& test : EveryBackend()) {
    if (test.options.kind != BackendKind::kCpu) continue;
    auto backend = MakeBackend(test.options);
    ASSERT_TRUE(backend.ok()) << backend.status();
    bool allowed = false;
    for (const BackendCase& other : EveryBackend()) {
      allowed |= other.options.max_kernels <= test.options.max_kernels &&
                 (*backend)->Info().kernels == other.name;
    }
    EXPECT_TRUE(allowed) << (*backend)->Info().kernels;
  }
}

TEST(CpuBackendTest, RejectsNegativeThreads) {
  BackendOptions options;
  options.threads = -1;
  EXPECT_EQ(MakeBackend(options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CpuBackendTest, UsesEveryCoreUnlessToldOtherwise) {
  BackendOptions options;
  EXPECT_GE((*MakeBackend(options))->Info().threads, 1);
  options.threads = 3;
  EXPECT_EQ((*MakeBackend(options))->Info().threads, 3);
}

}  // namespace
}  // namespace chela
