#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "models/mapped_file.h"
#include "models/safetensors.h"
#include "tests/models/running_model.h"
#include "tests/reference/chela_model.h"

namespace chela {
namespace {

constexpr char kCases[] = CHELA_SOURCE_DIR "/tests/data/reference";

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kCases, error)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Expected {
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> logits;
};

Expected ReadExpected(const std::string& path) {
  Expected expected;
  const auto file = MappedFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) return expected;
  const auto tensors = ParseSafetensors(file->bytes(), path);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  if (!tensors.ok()) return expected;
  const StoredTensor& tokens = tensors->at("tokens");
  const StoredTensor& logits = tensors->at("logits");
  EXPECT_EQ(tokens.dtype, "I64");
  EXPECT_EQ(logits.dtype, "F32");
  for (size_t at = 0; at < tokens.data.size(); at += 8) {
    int64_t token = 0;
    std::memcpy(&token, &tokens.data[at], 8);
    expected.tokens.push_back(static_cast<int32_t>(token));
  }
  const size_t row_bytes = static_cast<size_t>(logits.shape[1]) * 4;
  for (size_t at = 0; at < logits.data.size(); at += row_bytes) {
    expected.logits.emplace_back(static_cast<size_t>(logits.shape[1]));
    std::memcpy(expected.logits.back().data(), &logits.data[at], row_bytes);
  }
  EXPECT_EQ(expected.tokens.size(), expected.logits.size());
  return expected;
}

// A parametrised suite without parameters would pass by being empty.
TEST(ReferenceLogits, HasCases) { EXPECT_GE(Cases().size(), 10u) << kCases; }

class ReferenceLogitsTest : public testing::TestWithParam<std::string> {
 protected:
  std::string directory() const {
    return std::string(kCases) + "/" + GetParam();
  }
  Expected expected_ = ReadExpected(directory() + "/expected.safetensors");
};

// The bounds are the model definition's.
TEST_P(ReferenceLogitsTest, TheServerAgreesWithPyTorchForEverySplit) {
  RunningModel running(directory(), {.max_rows = 160, .slots = 1});
  const double bound =
      running.config().torch_dtype == DType::kF32 ? 1e-5 : 1e-2;
  const auto slot = running.Acquire();
  for (const int32_t step : {1, 13, 64, 160}) {
    const auto got = running.Run(slot, expected_.tokens, step);
    ASSERT_EQ(got.size(), expected_.logits.size());
    for (size_t t = 0; t < got.size(); ++t) {
      ASSERT_LE(RelativeL2(got[t], expected_.logits[t]), bound)
          << "token " << t << ", steps of " << step;
    }
  }
}

// Twin and PyTorch are both float64 and round at the same places, so that only
// the float32 of the file is between them; a rounded left operand may fall to
// the other side, by 2^-8 of itself at most, when the sums differ in their
// last bit, which is too rare to matter but not excluded.
TEST_P(ReferenceLogitsTest, TheTwinAgreesWithPyTorch) {
  const auto checkpoint = reference::LoadCheckpoint(directory());
  const double bound =
      checkpoint.config.torch_dtype == DType::kF32 ? 1e-6 : 1e-3;
  const auto want = reference::Logits(checkpoint, expected_.tokens);
  for (size_t t = 0; t < want.size(); ++t) {
    ASSERT_LE(RelativeL2(expected_.logits[t], want[t]), bound) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ReferenceLogitsTest, testing::ValuesIn(Cases()),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) ==
                                 0) {
                               c = '_';
                             }
                           }
                           return name;
                         });

}  // namespace
}  // namespace chela
