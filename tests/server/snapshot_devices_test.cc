// A state that one device made and another one goes on from.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "models/chela_model.h"
#include "models/state_pool.h"
#include "server/session/snapshot.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    ADD_FAILURE() << value.status();
    std::abort();
  }
  return *std::move(value);
}

// One text on one device.
class Text {
 public:
  Text(std::unique_ptr<Backend> backend, const std::string& directory,
       int32_t attention_replay)
      : backend_(std::move(backend)) {
    auto weights = Must(
        Weights::Load(*backend_, directory, std::nullopt, attention_replay));
    snapshot_model_ =
        MakeSnapshotModel(weights->config(), weights->fingerprint());
    model_ = Must(ChelaModel::Create(*backend_, std::move(weights), 256));
    pool_ = Must(StatePool::Create(*backend_, model_->config(), 2, true));
    slot_ = Must(pool_->Acquire());
    EXPECT_TRUE(pool_->Clear(slot_).ok());
  }

  // The logits after each of the tokens.
  std::vector<Logits> Feed(const Tokens& tokens, int32_t chunk) {
    std::vector<Logits> rows;
    for (size_t from = 0; from < tokens.size();) {
      const size_t size =
          std::min(tokens.size() - from, static_cast<size_t>(chunk));
      StepPlan plan;
      plan.segments = {{.slot = slot_.id(),
                        .first_row = 0,
                        .rows = static_cast<int32_t>(size),
                        .position = position_}};
      plan.tokens.assign(tokens.begin() + from, tokens.begin() + from + size);
      for (size_t row = 0; row < size; ++row) {
        plan.logits_rows.push_back(static_cast<int32_t>(row));
      }
      const auto vocab = static_cast<size_t>(model_->config().vocab_size);
      Logits logits(size * vocab);
      EXPECT_TRUE(model_->Forward(plan, *pool_, logits).ok());
      for (size_t row = 0; row < size; ++row) {
        rows.emplace_back(logits.begin() + row * vocab,
                          logits.begin() + (row + 1) * vocab);
      }
      from += size;
      position_ += static_cast<int64_t>(size);
    }
    last_ = rows.back();
    return rows;
  }

  std::string Save() {
    SequenceState state;
    state.position = position_;
    state.logits = last_;
    state.state.resize(static_cast<size_t>(pool_->slot_bytes()));
    EXPECT_TRUE(pool_->Save(slot_, state.state).ok());
    return Must(EncodeSnapshot(state, snapshot_model_));
  }

  absl::Status Load(const std::string& snapshot) {
    const auto state = DecodeSnapshot(snapshot, snapshot_model_);
    if (!state.ok()) return state.status();
    position_ = (*state)->position;
    return pool_->Restore((*state)->state, slot_);
  }

  const std::string& layout() const { return snapshot_model_.layout; }

 private:
  std::unique_ptr<Backend> backend_;
  SnapshotModel snapshot_model_;
  std::unique_ptr<ChelaModel> model_;
  std::unique_ptr<StatePool> pool_;
  StatePool::Slot slot_;
  int64_t position_ = 0;
  Logits last_;
};

double Distance(const Logits& got, const Logits& want) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

Tokens RandomTokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 256);
  return tokens;
}

class SnapshotDevicesTest
    : public ::testing::TestWithParam<std::tuple<LongConvKind, int32_t>> {
 protected:
  void SetUp() override {
    ModelConfig config = test_support::TinyConfig();
    // Wide enough for the bound of the model's definition.
    config.hidden_size = 64;
    config.shared_dim = 32;
    config.value_dim = 64;
    config.intermediate_size = 96;
    const auto [kind, replay] = GetParam();
    if (kind == LongConvKind::kExplicit) {
      config.long_conv_kind = LongConvKind::kExplicit;
      config.long_conv_base_length = 0;
    }
    model_ = std::make_unique<test_support::TinyModel>(config);
    BackendOptions options;
    options.threads = 2;
    auto cpu = Must(MakeBackend(options));
    options.kind = BackendKind::kCuda;
    auto cuda = MakeBackend(options);
    if (cuda.ok()) {
      cuda_ =
          std::make_unique<Text>(*std::move(cuda), model_->directory(), replay);
    } else if (std::getenv("CHELA_REQUIRE_DEVICES") != nullptr) {
      FAIL() << cuda.status();
    } else {
      GTEST_SKIP() << cuda.status();
    }
    cpu_ = std::make_unique<Text>(std::move(cpu), model_->directory(), replay);
  }

  // `from` reads a prompt and goes on; `to` goes on from its snapshot.
  static void ExpectSameText(Text& from, Text& to) {
    from.Feed(RandomTokens(300, 1), 256);
    from.Feed(RandomTokens(5, 3), 1);  // into a period of replay
    const std::string snapshot = from.Save();
    ASSERT_EQ(from.layout(), to.layout());
    ASSERT_TRUE(to.Load(snapshot).ok());
    const Tokens more = RandomTokens(200, 2);
    const std::vector<Logits> want = from.Feed(more, 1);
    const std::vector<Logits> got = to.Feed(more, 1);
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      worst = std::max(worst, Distance(got[i], want[i]));
    }
    // Each side may be 1e-5 off the definition.
    EXPECT_LE(worst, 2e-5);
    RecordProperty("worst", std::to_string(worst));
    std::printf("relative L2, worst of 200 rows: %.2e\n", worst);
  }

  std::unique_ptr<test_support::TinyModel> model_;
  std::unique_ptr<Text> cpu_;
  std::unique_ptr<Text> cuda_;
};

TEST_P(SnapshotDevicesTest, GoesOnFromTheGpuOnTheCpu) {
  ExpectSameText(*cuda_, *cpu_);
}

TEST_P(SnapshotDevicesTest, GoesOnFromTheCpuOnTheGpu) {
  ExpectSameText(*cpu_, *cuda_);
}

INSTANTIATE_TEST_SUITE_P(
    EveryKernel, SnapshotDevicesTest,
    ::testing::Combine(::testing::Values(LongConvKind::kHierarchical,
                                         LongConvKind::kExplicit),
                       ::testing::Values(0, 12)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param) == LongConvKind::kExplicit
                             ? "Explicit"
                             : "Hierarchical") +
             (std::get<1>(test.param) == 0 ? "" : "Replay");
    });

}  // namespace
}  // namespace chela
