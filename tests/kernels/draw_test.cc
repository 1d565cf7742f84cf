#include "kernels/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/backend.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class DrawTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (!backend().draws_tokens()) {
      EXPECT_EQ(backend().Run(Draw{}).code(), absl::StatusCode::kUnimplemented);
      GTEST_SKIP() << "this backend leaves draws to the host's sampler";
    }
  }

  // The tokens of rows of `vocab` logits, each under its rule. Afterwards the
  // logits are as they were.
  std::vector<int32_t> Run(const std::vector<float>& logits, int32_t vocab,
                           const std::vector<DrawRule>& rules) {
    const auto rows = static_cast<int32_t>(rules.size());
    Tensor in(backend(), logits);
    Tensor out(backend(), rows);
    const Rows batch = MakeRows(rows, RowKind::kDecode);
    EXPECT_TRUE(backend().BeginStep(batch.step()).ok());
    const absl::Status status = backend().Run(
        Draw{.logits = in.data(),
             .vocab = vocab,
             .num_rows = rows,
             .inputs = {.rules = rules, .biases = {}, .counts = {}},
             .tokens = reinterpret_cast<int32_t*>(out.data())});
    EXPECT_TRUE(status.ok()) << status;
    const std::vector<float> after = in.Read();
    EXPECT_EQ(0, std::memcmp(after.data(), logits.data(),
                             logits.size() * sizeof(float)));
    std::vector<int32_t> tokens(rules.size(), -7);
    EXPECT_TRUE(
        backend().Download(out.data(), tokens.data(), rules.size() * 4).ok());
    return tokens;
  }
};

// Negative: nobody wants it.
DrawRule Rule(float temperature, double uniform) {
  return {.inverse_temperature = 1 / temperature, .uniform = uniform};
}

// The definition in double: the token, and how far the random number is from
// the nearest border between two tokens.
struct Drawn {
  int32_t token = 0;
  double margin = 0;
};
Drawn Definition(const float* logits, int32_t vocab, const DrawRule& rule) {
  const double max = *std::max_element(logits, logits + vocab);
  std::vector<double> ends;
  double sum = 0;
  for (int32_t i = 0; i < vocab; ++i) {
    sum += std::exp((logits[i] - max) * rule.inverse_temperature);
    ends.push_back(sum);
  }
  Drawn drawn{0, 1};
  for (int32_t i = 0; i < vocab; ++i) {
    const double end = ends[static_cast<size_t>(i)] / sum;
    if (end <= rule.uniform) drawn.token = i + 1;
    drawn.margin = std::min(drawn.margin, std::abs(end - rule.uniform));
  }
  return drawn;
}

TEST_P(DrawTest, DrawsWhatTheDefinitionSaysForEverySizeAndTemperature) {
  int compared = 0;
  for (const int32_t vocab : {1, 5, 258, 1027, 8192, 32768, 50257}) {
    constexpr int32_t kRows = 9;
    const std::vector<float> logits =
        RandomFloats(int64_t{kRows} * vocab, -6, 6, 1);
    const std::vector<float> uniforms = RandomFloats(kRows, 0, 1, 2);
    std::vector<DrawRule> rules;
    for (int32_t row = 0; row < kRows; ++row) {
      rules.push_back(Rule(row % 3 == 0 ? 0.3f : 1.0f, uniforms[row]));
    }
    const std::vector<int32_t> tokens = Run(logits, vocab, rules);
    for (int32_t row = 0; row < kRows; ++row) {
      const Drawn want =
          Definition(logits.data() + int64_t{row} * vocab, vocab, rules[row]);
      if (want.margin < 1e-6) continue;
      ++compared;
      EXPECT_EQ(tokens[row], want.token) << vocab << ", row " << row;
    }
  }
  EXPECT_GE(compared, 40);
}

TEST_P(DrawTest, TakesTheMostLikelyTokenAtTemperatureZero) {
  std::vector<float> logits = RandomFloats(3 * 1000, -1, 1, 3);
  logits[777] = 2;
  logits[1000 + 5] = 2;
  logits[1000 + 999] = 2;  // equal: the lower id
  logits[2000] = kInfinity;
  EXPECT_EQ(Run(logits, 1000, {Rule(0, 0.9), Rule(0, 0.1), Rule(0, 0.5)}),
            (std::vector<int32_t>{777, 5, 0}));
}

TEST_P(DrawTest, NeverDrawsABannedTokenWhateverTheRandomNumber) {
  std::vector<float> logits(4 * 3000, -kInfinity);
  for (int row = 0; row < 4; ++row) logits[row * 3000 + 1234] = -50;
  logits[1] = kPoison;
  EXPECT_EQ(
      Run(logits, 3000,
          {Rule(1, 0), Rule(1, 0.5), Rule(2, 1 - 0x1p-53), Rule(0.01f, 0.999)}),
      (std::vector<int32_t>{1234, 1234, 1234, 1234}));
}

TEST_P(DrawTest, DrawsUniformlyIfEveryTokenIsBanned) {
  const std::vector<float> logits(8, -kInfinity);
  EXPECT_EQ(Run(logits, 4, {Rule(1, 0.3), Rule(0, 0.3)}),
            (std::vector<int32_t>{1, 0}));
}

TEST_P(DrawTest, LeavesARowAloneThatNobodyWants) {
  const std::vector<float> logits(6, 0.0f);
  const std::vector<int32_t> tokens =
      Run(logits, 2, {Rule(1, 0), Rule(-1, 0), Rule(1, 0.6)});
  EXPECT_EQ(tokens[0], 0);
  EXPECT_EQ(tokens[1], static_cast<int32_t>(0x7fc00000));  // the poison
  EXPECT_EQ(tokens[2], 1);
}

TEST_P(DrawTest, ARowsTokenDoesNotDependOnItsBatch) {
  const int32_t vocab = 5003;
  const std::vector<float> logits = RandomFloats(70 * vocab, -4, 4, 5);
  std::vector<DrawRule> rules;
  for (int row = 0; row < 70; ++row) {
    rules.push_back(Rule(1, row / 70.0));
    if (row % 2 == 1) rules.back().top_p = 0.7;
    if (row % 3 == 1) rules.back().top_k = 100;
  }
  const std::vector<int32_t> all = Run(logits, vocab, rules);
  for (const int64_t row : {0, 13, 69}) {
    EXPECT_EQ(Run(RowsOf(logits, vocab, row, 1), vocab,
                  {rules[static_cast<size_t>(row)]}),
              std::vector<int32_t>{all[static_cast<size_t>(row)]});
  }
}

TEST_P(DrawTest, RefusesRulesOutOfRange) {
  const auto refused = [&](const DrawRule& rule, const DrawInputs& lists = {}) {
    Draw op;
    op.vocab = 4;
    op.num_rows = 1;
    op.inputs = {{&rule, 1}, lists.biases, lists.counts};
    return backend().Run(op).code() == absl::StatusCode::kInvalidArgument;
  };
  for (const DrawRule& rule :
       std::vector<DrawRule>{Rule(1, -0.1),
                             Rule(1, 1.0),
                             Rule(kPoison, 0),
                             Rule(1, kPoison),
                             {.top_k = -1},
                             {.top_p = -0.1},
                             {.top_p = kPoison},
                             {.min_p = 1.1f},
                             {.repetition_penalty = 0},
                             {.presence_penalty = kPoison},
                             {.frequency_penalty = HUGE_VAL},
                             {.first_bias = -1},
                             {.num_biases = 1},
                             {.first_count = 1},
                             {.num_counts = -1}}) {
    EXPECT_TRUE(refused(rule));
  }
  const std::vector<TokenBias> bias = {{4, 0}};
  const std::vector<TokenCount> count = {{-1, 0, 0}};
  EXPECT_TRUE(refused({.num_biases = 1}, {{}, bias, {}}));
  EXPECT_TRUE(refused({.num_counts = 1}, {{}, {}, count}));
  Draw empty;
  EXPECT_EQ(backend().Run(empty).code(), absl::StatusCode::kInvalidArgument);
  empty.vocab = 4;
  empty.num_rows = 1;  // without a rule
  EXPECT_EQ(backend().Run(empty).code(), absl::StatusCode::kInvalidArgument);
}

CHELA_ON_EVERY_BACKEND(DrawTest);

}  // namespace
}  // namespace chela
