#include "tests/models/running_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <utility>

namespace chela {
namespace {

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "running_model: %s\n", status.ToString().c_str());
  std::abort();
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

}  // namespace

bool OnCuda() {
  const char* device = std::getenv("CHELA_TEST_DEVICE");
  return device != nullptr && std::string(device) == "cuda";
}

RunningModel::RunningModel(const std::string& directory,
                           const Options& options) {
  BackendOptions backend;
  if (OnCuda()) backend.kind = BackendKind::kCuda;
  backend.threads = options.threads;
  backend.max_kernels = options.max_kernels;
  backend_ = Value(MakeBackend(backend));
  model_ = Value(
      ChelaModel::Create(*backend_,
                         Value(Weights::Load(*backend_, directory, std::nullopt,
                                             options.attention_replay)),
                         options.max_rows));
  pool_ = Value(StatePool::Create(*backend_, model_->config(), options.slots));
}

StatePool::Slot RunningModel::Acquire() { return Value(pool_->Acquire()); }

std::vector<std::vector<float>> RunningModel::Step(StepPlan plan) {
  const size_t rows = plan.tokens.size();
  const size_t vocab = static_cast<size_t>(config().vocab_size);
  plan.logits_rows.resize(rows);
  for (size_t i = 0; i < rows; ++i) {
    plan.logits_rows[i] = static_cast<int32_t>(i);
  }
  std::vector<float> logits(rows * vocab,
                            std::numeric_limits<float>::quiet_NaN());
  Check(model_->Forward(plan, *pool_, logits));
  std::vector<std::vector<float>> result(rows);
  for (size_t i = 0; i < rows; ++i) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab);
    result[i].assign(row, row + static_cast<std::ptrdiff_t>(vocab));
  }
  return result;
}

std::vector<std::vector<float>> RunningModel::Feed(
    const StatePool::Slot& slot, const std::vector<int32_t>& tokens,
    int64_t first, int32_t rows) {
  StepPlan plan;
  plan.segments = {{slot.id(), 0, rows, first}};
  plan.tokens.assign(tokens.begin() + first, tokens.begin() + first + rows);
  return Step(std::move(plan));
}

std::vector<std::vector<float>> RunningModel::Run(
    const StatePool::Slot& slot, const std::vector<int32_t>& tokens,
    int32_t step) {
  std::vector<std::vector<float>> logits;
  const int64_t count = static_cast<int64_t>(tokens.size());
  for (int64_t first = 0; first < count; first += step) {
    const int64_t rows = std::min<int64_t>(step, count - first);
    auto part = Feed(slot, tokens, first, static_cast<int32_t>(rows));
    for (std::vector<float>& row : part) logits.push_back(std::move(row));
  }
  return logits;
}

std::vector<int32_t> RandomTokens(int64_t count, int32_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab));
  }
  return tokens;
}

template <typename Want>
double RelativeL2(const std::vector<float>& got,
                  const std::vector<Want>& want) {
  if (got.size() != want.size()) return INFINITY;
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double value = want[i];
    difference += (got[i] - value) * (got[i] - value);
    size += value * value;
  }
  return std::sqrt(difference / size);
}

template double RelativeL2(const std::vector<float>&,
                           const std::vector<double>&);
template double RelativeL2(const std::vector<float>&,
                           const std::vector<float>&);

}  // namespace chela
