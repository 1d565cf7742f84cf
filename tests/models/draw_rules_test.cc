#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "models/draw_plan.h"
#include "models/sampler.h"
#include "tests/models/draw_cases.h"
#include "tests/support/drawing_backend.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using test_support::LeastMargin;
using test_support::RandomParams;
using test_support::RandomRow;
using test_support::RandomSampler;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// All sampling rules that a backend applies, against the host's sampler. The
// CPU's turn shows that the rules are handed over whole, and what these tests
// expect.
class DrawRulesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (backend().draws_tokens()) return;
    on_host_ = true;
    drawing_ =
        std::make_unique<test_support::DrawingBackend>(MakeWith(/*threads=*/1));
  }

  Backend& drawing() { return on_host_ ? *drawing_ : backend(); }
  bool on_host() const { return on_host_; }

  // The tokens of rows of `vocab` logits. Afterwards the logits are as they
  // were.
  std::vector<int32_t> Run(const std::vector<float>& logits, int32_t vocab,
                           const DrawPlan& plan) {
    const auto rows = static_cast<int32_t>(plan.rules.size());
    Tensor in(drawing(), logits);
    Tensor out(drawing(), rows);
    EXPECT_TRUE(drawing().BeginStep({}).ok());
    std::vector<int32_t> tokens(plan.rules.size(), -7);
    // A backend has room for the rows of its step.
    const Rows batch = MakeRows(rows, RowKind::kDecode);
    EXPECT_TRUE(drawing().BeginStep(batch.step()).ok());
    const absl::Status status =
        drawing().Run(Draw{.logits = in.data(),
                           .vocab = vocab,
                           .num_rows = rows,
                           .inputs = plan.inputs(),
                           .tokens = reinterpret_cast<int32_t*>(out.data())});
    EXPECT_TRUE(status.ok()) << status;
    const std::vector<float> after = in.Read();
    EXPECT_EQ(0, std::memcmp(after.data(), logits.data(),
                             logits.size() * sizeof(float)));
    EXPECT_TRUE(
        drawing().Download(out.data(), tokens.data(), tokens.size() * 4).ok());
    return tokens;
  }

 private:
  bool on_host_ = false;
  std::unique_ptr<test_support::DrawingBackend> drawing_;
};

TEST_P(DrawRulesTest, DrawWhatTheHostDraws) {
  test_support::Random random(1);
  int compared = 0;
  int inside = 0;
  for (const int32_t vocab :
       {1, 2, 31, 258, 1027, 8192, 32768, 50257, 200000}) {
    const int32_t rows = vocab > 100000 ? 16 : 64;
    std::vector<float> logits;
    DrawPlan plan;
    std::vector<int32_t> wanted;
    for (int32_t i = 0; i < rows; ++i) {
      const std::vector<float> row = RandomRow(vocab, random);
      const Sampler sampler =
          RandomSampler(RandomParams(vocab, random), vocab, random);
      const int64_t draw = random.Below(4);
      plan.AddNone();
      const std::optional<DrawRule> rule = sampler.RuleOf(draw, plan);
      ASSERT_TRUE(rule.has_value());
      plan.rules.back() = *rule;
      wanted.push_back(sampler.Sample(row, draw).token);
      logits.insert(logits.end(), row.begin(), row.end());
    }
    const std::vector<int32_t> tokens = Run(logits, vocab, plan);
    // draw.h's promise, and the rounding of these sums.
    const double bits = std::ceil(std::log2(vocab));
    const double margin = std::exp2(2 * bits - 62) + vocab * 0x1p-52;
    for (int32_t i = 0; i < rows; ++i) {
      ++compared;
      if (tokens[i] == wanted[i]) continue;
      ++inside;
      EXPECT_LE(LeastMargin(RowsOf(logits, vocab, i, 1), i, plan), margin)
          << vocab << ", row " << i << ": " << tokens[i] << ", not "
          << wanted[i];
    }
  }
  EXPECT_EQ(compared, 8 * 64 + 16);
  EXPECT_LE(inside, on_host() ? 0 : 3);
}

TEST_P(DrawRulesTest, CountsOnlyTheMostLikelyTokensOfTopKAndTopP) {
  // Shares 1/2, 1/4, 1/8, 1/16, 1/16 in this order of ids: 3, 0, 4, 1, 2.
  const float ln2 = std::log(2.0f);
  const std::vector<float> row = {2 * ln2, 0, 0, 3 * ln2, ln2};
  std::vector<float> logits;
  DrawPlan plan;
  const auto add = [&](DrawRule rule) {
    logits.insert(logits.end(), row.begin(), row.end());
    plan.rules.push_back(rule);
  };
  add({.top_k = 2, .uniform = 0.32});   // 0 has 1/3
  add({.top_k = 2, .uniform = 0.34});   // 3 has the rest
  add({.top_k = 4, .uniform = 0.999});  // 4: the last of 0, 1, 3, 4
  add({.top_k = 4, .uniform = 0.3});    // 1: of equal ones the lower id
  add({.uniform = 0.999, .top_p = 0.5});
  add({.uniform = 0.3, .top_p = 0.51});
  add({.uniform = 0.3, .top_p = 0.9});
  add({.top_k = 3, .uniform = 0.3, .top_p = 0.56});  // of 7/8 3 has 4/7
  add({.top_k = 3, .uniform = 0.3, .top_p = 0.58});  // and 0 2/7
  add({.uniform = 0.999, .min_p = 0.24f});           // 0, 3, 4
  EXPECT_EQ(Run(logits, 5, plan),
            (std::vector<int32_t>{0, 3, 4, 1, 3, 0, 1, 3, 0, 4}));
}

TEST_P(DrawRulesTest, ChangesLogitsByBiasesFirstAndPenaltiesThen) {
  const std::vector<float> row = {1.0f, 2.0f, 3.0f, -1.0f};
  std::vector<float> logits;
  for (int i = 0; i < 5; ++i)
    logits.insert(logits.end(), row.begin(), row.end());
  DrawPlan plan;
  plan.biases = {
      {2, -kInfinity}, {1, -kInfinity}, {3, 2.5f}, {0, -0.4f}, {3, 4.1f}};
  plan.counts = {{2, 3, 0}, {0, 0, 1}, {3, 1, 2}, {2, 0, 2}, {1, 5, 1}};
  std::vector<DrawRule>& rules = plan.rules;
  rules.assign(5, {.inverse_temperature = kInfinity});
  rules[0].num_biases = 2;  // 0 is left as the largest
  rules[1].first_bias = 2;  // 3: 1.5, 0: 0.6, 2 halved: 1.5, 1 stays 2
  rules[1].num_biases = 2;
  rules[1].num_counts = 1;
  rules[1].repetition_penalty = 2;
  rules[2].first_bias = 4;  // 3: 3.1, then (3.1 / 1 - 0.5 - 2 * 0.1) = 2.4
  rules[2].num_biases = 1;
  rules[2].first_count = 2;
  rules[2].num_counts = 1;
  rules[2].presence_penalty = 0.5;
  rules[2].frequency_penalty = 0.1;
  rules[3].first_count = 3;  // 2: 3 - 2 * 0.6, 1: 2 - 0.6
  rules[3].num_counts = 2;
  rules[3].frequency_penalty = 0.6;
  EXPECT_EQ(Run(logits, 4, plan), (std::vector<int32_t>{0, 1, 2, 2, 2}));
}

TEST_P(DrawRulesTest, AreTheHostsWhereABackendHasNone) {
  const auto on_backend = [](const SamplingParams& params, int32_t text) {
    Sampler sampler(params);
    std::vector<int32_t> prompt(static_cast<size_t>(text));
    std::iota(prompt.begin(), prompt.end(), 0);
    sampler.AddPrompt(prompt);
    DrawPlan plan;
    return sampler.RuleOf(0, plan).has_value();
  };
  EXPECT_TRUE(on_backend({}, 100000));
  EXPECT_FALSE(on_backend({.typical_p = 0.9}, 0));
  EXPECT_FALSE(on_backend({.allowed_tokens = {1, 2}}, 0));
  const auto most = static_cast<int32_t>(kMaxDrawList);
  EXPECT_TRUE(on_backend({.presence_penalty = 1}, most));
  EXPECT_FALSE(on_backend({.presence_penalty = 1}, most + 1));
  EXPECT_TRUE(on_backend({.presence_penalty = 1, .penalty_window = 10}, 9999));
  SamplingParams biased;
  for (int32_t i = 0; i < most; ++i) biased.logit_bias.push_back({i, 1});
  EXPECT_TRUE(on_backend(biased, 0));
  biased.logit_bias.push_back({most, 1});
  EXPECT_FALSE(on_backend(biased, 0));
}

INSTANTIATE_TEST_SUITE_P(Kernels, DrawRulesTest,
                         ::testing::Values(EveryBackend().front(),
                                           EveryBackend().back()),
                         [](const ::testing::TestParamInfo<BackendCase>& test) {
                           return std::string(test.param.name);
                         });

}  // namespace
}  // namespace chela
