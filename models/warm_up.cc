#include "models/warm_up.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "kernels/status_macros.h"
#include "models/step_plan.h"

namespace chela {
namespace {

// Times that a decode step of one shape runs: as it is, then recorded.
constexpr int kDecodeRuns = 2;

// Runs steps at position 0 of slots of its own.
class WarmUpRun {
 public:
  WarmUpRun(ChelaModel& model, StatePool& pool) : model_(model), pool_(pool) {}
  ~WarmUpRun() {
    while (!slots_.empty()) slots_.pop_back();
  }

  absl::Status Claim(int32_t slots) {
    while (static_cast<int32_t>(slots_.size()) < slots) {
      absl::StatusOr<StatePool::Slot> slot = pool_.Acquire();
      if (!slot.ok()) return slot.status();
      slots_.push_back(*std::move(slot));
    }
    return absl::OkStatus();
  }

  // One segment of rows[i] tokens for slot i, the logits of every row.
  absl::Status Step(const std::vector<int32_t>& rows, bool draws = false) {
    StepPlan plan;
    for (size_t i = 0; i < rows.size(); ++i) {
      plan.segments.push_back(
          {.slot = slots_[i].id(),
           .first_row = static_cast<int32_t>(plan.tokens.size()),
           .rows = rows[i],
           .position = 0});
      plan.tokens.resize(plan.tokens.size() + static_cast<size_t>(rows[i]), 0);
    }
    const size_t count = plan.tokens.size();
    for (size_t row = 0; row < count; ++row) {
      plan.logits_rows.push_back(static_cast<int32_t>(row));
    }
    std::vector<int32_t> tokens;
    if (draws) {
      for (size_t row = 0; row < count; ++row) {
        plan.draws.AddNone();
        plan.draws.rules.back() = DrawRule();
      }
      tokens.resize(count);
    }
    logits_.resize(count * static_cast<size_t>(model_.config().vocab_size));
    return model_.Forward(plan, pool_, logits_, tokens);
  }

  absl::Status Clear() {
    for (const StatePool::Slot& slot : slots_) {
      CHELA_RETURN_IF_ERROR(pool_.Clear(slot));
    }
    return absl::OkStatus();
  }

 private:
  ChelaModel& model_;
  StatePool& pool_;
  std::vector<StatePool::Slot> slots_;
  std::vector<float> logits_;
};

std::vector<int32_t> Decoding(int32_t rows) {
  return std::vector<int32_t>(static_cast<size_t>(rows), 1);
}

}  // namespace

absl::Status WarmUpToken(ChelaModel& model, StatePool& pool) {
  WarmUpRun run(model, pool);
  CHELA_RETURN_IF_ERROR(run.Claim(1));
  CHELA_RETURN_IF_ERROR(run.Step({1}));
  return run.Clear();
}

absl::Status WarmUpChunks(ChelaModel& model, StatePool& pool) {
  WarmUpRun run(model, pool);
  const int32_t rows = model.max_rows();
  const auto chunk = static_cast<int32_t>(kChunkTokens);
  // Longer ones where there are too few slots.
  const int32_t chunks =
      std::min((rows + chunk - 1) / chunk, pool.free_slots());
  CHELA_RETURN_IF_ERROR(run.Claim(std::max(chunks, 1)));
  std::vector<int32_t> step(static_cast<size_t>(chunks), rows / chunks);
  for (int32_t i = 0; i < rows % chunks; ++i) ++step[static_cast<size_t>(i)];
  CHELA_RETURN_IF_ERROR(run.Step(step));
  return run.Clear();
}

absl::Status WarmUpDecode(ChelaModel& model, StatePool& pool) {
  WarmUpRun run(model, pool);
  const int32_t most = std::min(model.max_rows(), pool.free_slots());
  CHELA_RETURN_IF_ERROR(run.Claim(most));
  // What grows the working memory comes before what is recorded.
  const auto chunk =
      std::min(static_cast<int32_t>(kChunkTokens), model.max_rows() - most + 1);
  std::vector<int32_t> beside = Decoding(most);
  beside.front() = chunk;
  CHELA_RETURN_IF_ERROR(run.Step(beside));
  for (int32_t rows = most; rows > 0;
       rows = static_cast<int32_t>(
           std::bit_floor(static_cast<uint32_t>(rows - 1)))) {
    for (int i = 0; i < kDecodeRuns; ++i) {
      CHELA_RETURN_IF_ERROR(run.Step(Decoding(rows)));
    }
    for (int i = 0; i < kDecodeRuns && model.draws_tokens(); ++i) {
      CHELA_RETURN_IF_ERROR(run.Step(Decoding(rows), /*draws=*/true));
    }
  }
  return run.Clear();
}

}  // namespace chela
