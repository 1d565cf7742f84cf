#include "server/tools/bench/decode_workload.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <span>
#include <utility>

#include "kernels/status_macros.h"
#include "server/tools/bench/clock.h"
#include "server/tools/bench/host.h"

namespace chela::bench {
namespace {

// More than ten times the second-level cache of the largest GPUs.
constexpr int64_t kStepRotationBytes = int64_t{768} << 20;

// Values as large as activations are, away from zero and from denormals.
std::vector<float> SeededState(int64_t floats) {
  std::mt19937 random(20240);
  std::vector<float> state(floats);
  for (float& value : state) {
    const uint32_t bits = static_cast<uint32_t>(random());
    const float size = 0.25f + 0x1p-25f * static_cast<float>(bits >> 8);
    value = (bits & 1) != 0 ? size : -size;
  }
  return state;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DecodeWorkload>> DecodeWorkload::Create(
    const WorkloadOptions& options) {
  auto workload = std::unique_ptr<DecodeWorkload>(new DecodeWorkload(options));
  CHELA_RETURN_IF_ERROR(
      workload->options_.config.SetAttentionReplay(options.attention_replay));
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();
  workload->backend_ = *std::move(backend);
  if (options.stages) {
    if (options.backend.kind != BackendKind::kCpu) {
      return absl::InvalidArgumentError(
          "--stages: the device runs ops later than they are called; want "
          "--device cpu");
    }
    auto timer = std::make_unique<StageTimer>(std::move(workload->backend_));
    workload->timer_ = timer.get();
    workload->backend_ = std::move(timer);
  }
  CHELA_RETURN_IF_ERROR(workload->AddCopy(0));
  const int64_t wanted = options.backend.kind == BackendKind::kCpu
                             ? 8 * LastLevelCacheBytes()
                             : kStepRotationBytes;
  const int64_t bytes = workload->weights().size_bytes();
  for (int64_t copy = 1; copy * bytes < wanted && copy < options.max_copies;
       ++copy) {
    CHELA_RETURN_IF_ERROR(workload->AddCopy(copy));
  }
  const int32_t rows = std::max(options.max_batch, options.base_batch);
  for (int32_t row = 0; row < rows; ++row) {
    SamplingParams params = options.sampling;
    params.seed = static_cast<uint64_t>(row);
    workload->samplers_.emplace_back(params);
  }
  workload->logits_.resize(int64_t{rows} * workload->config().vocab_size);
  return workload;
}

absl::Status DecodeWorkload::AddCopy(uint64_t seed) {
  absl::StatusOr<std::unique_ptr<Weights>> weights =
      options_.model_dir.empty()
          ? Weights::Random(*backend_, options_.config, seed, options_.matrices)
          : Weights::Load(*backend_, options_.model_dir, options_.matrices,
                          options_.attention_replay);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<std::unique_ptr<ChelaModel>> model = ChelaModel::Create(
      *backend_, *std::move(weights),
      std::max({options_.max_batch, options_.base_batch, options_.max_chunk}));
  if (!model.ok()) return model.status();
  const int32_t slots = options_.max_batch + options_.base_batch;
  absl::StatusOr<std::unique_ptr<StatePool>> pool =
      StatePool::Create(*backend_, (*model)->config(), slots);
  if (!pool.ok()) return pool.status();
  Copy copy;
  copy.model = *std::move(model);
  copy.pool = *std::move(pool);
  for (int32_t i = 0; i < slots; ++i) {
    absl::StatusOr<StatePool::Slot> slot = copy.pool->Acquire();
    if (!slot.ok()) return slot.status();
    copy.slots.push_back(*std::move(slot));
  }
  copies_.push_back(std::move(copy));
  return absl::OkStatus();
}

absl::Status DecodeWorkload::Seed(const Sequences& sequences, Set set) {
  const std::vector<float> state =
      SeededState(copies_[0].pool->layout().slot_floats);
  for (Copy& copy : copies_) {
    const size_t first = FirstSlot(set);
    CHELA_RETURN_IF_ERROR(copy.pool->Restore(
        std::as_bytes(std::span<const float>(state)), copy.slots[first]));
    for (int32_t row = 1; row < sequences.batch; ++row) {
      CHELA_RETURN_IF_ERROR(
          copy.pool->Copy(copy.slots[first], copy.slots[first + row]));
    }
  }
  SetPositions(sequences, set);
  return absl::OkStatus();
}

void DecodeWorkload::SetPositions(const Sequences& sequences, Set set) {
  std::mt19937 random(7);
  // An odd distance: multiples of a power of two would be equal positions to
  // the levels below it.
  const int64_t distance =
      sequences.spread ? sequences.period / sequences.batch | 1 : 0;
  for (Copy& copy : copies_) {
    Place& place = copy.places[set];
    place = Place();
    for (int32_t row = 0; row < sequences.batch; ++row) {
      Segment segment;
      segment.slot = copy.slots[FirstSlot(set) + row].id();
      segment.first_row = row;
      segment.rows = 1;
      segment.position = sequences.position + row * distance;
      place.plan.segments.push_back(segment);
      place.plan.tokens.push_back(
          static_cast<int32_t>(random() % config().vocab_size));
      place.plan.logits_rows.push_back(row);
    }
  }
  turns_[set] = 0;
  if (set == kBase) return;
  period_ = sequences.period;
  sampling_seconds_ = 0;
  steps_ = 0;
  if (timer_ != nullptr) timer_->Clear();
}

nlohmann::json DecodeWorkload::stages() const {
  return timer_ == nullptr ? nlohmann::json() : timer_->ToJson();
}

absl::StatusOr<std::vector<float>> DecodeWorkload::State(int32_t row) {
  std::vector<float> state(copies_[0].pool->layout().slot_floats);
  CHELA_RETURN_IF_ERROR(copies_[0].pool->Save(
      copies_[0].slots[row], std::as_writable_bytes(std::span<float>(state))));
  return state;
}

int32_t DecodeWorkload::Sample(int64_t row, int64_t draw) {
  const int64_t vocab = config().vocab_size;
  return samplers_[row]
      .Sample(std::span<const float>(logits_).subspan(row * vocab, vocab), draw)
      .token;
}

absl::Status DecodeWorkload::Step(Set set) {
  const auto start = Clock::now();
  size_t& turn = turns_[set];
  Copy& copy = copies_[turn];
  Place& place = copy.places[set];
  turn = (turn + 1) % copies_.size();
  double sampling = 0;
  CHELA_RETURN_IF_ERROR(RunStep(copy, place, &sampling));
  for (Segment& segment : place.plan.segments) ++segment.position;
  const int64_t phase = place.step++ % period_;
  if (set == kBase) {
    if (timer_ != nullptr) timer_->DropStep();
    return absl::OkStatus();
  }
  sampling_seconds_ += sampling;
  ++steps_;
  if (timer_ != nullptr) timer_->EndStep(phase, SecondsSince(start), sampling);
  return absl::OkStatus();
}

absl::Status DecodeWorkload::RunStep(Copy& copy, Place& place,
                                     double* sampling_seconds) {
  const size_t rows = place.plan.tokens.size();
  const std::span<float> logits =
      std::span<float>(logits_).first(rows * config().vocab_size);
  if (copy.model->draws_tokens()) return StepWithDraws(copy, place, logits);
  CHELA_RETURN_IF_ERROR(copy.model->Forward(place.plan, *copy.pool, logits));
  const auto start = Clock::now();
  for (size_t row = 0; row < rows; ++row) {
    place.plan.tokens[row] = Sample(static_cast<int64_t>(row), place.step);
  }
  *sampling_seconds = SecondsSince(start);
  return absl::OkStatus();
}

absl::Status DecodeWorkload::StepWithDraws(Copy& copy, Place& place,
                                           std::span<float> logits) {
  const size_t rows = place.plan.tokens.size();
  DrawPlan& draws = place.plan.draws;
  draws.clear();
  for (size_t row = 0; row < rows; ++row) {
    draws.AddNone();
    draws.rules.back() = *samplers_[row].RuleOf(place.step, draws);
  }
  drawn_.resize(rows);
  CHELA_RETURN_IF_ERROR(
      copy.model->Forward(place.plan, *copy.pool, logits, drawn_));
  place.plan.tokens = drawn_;
  return absl::OkStatus();
}

absl::Status DecodeWorkload::Prefill(int64_t tokens, int64_t chunk) {
  const auto start = Clock::now();
  size_t& turn = turns_[kMeasured];
  Copy& copy = copies_[turn];
  turn = (turn + 1) % copies_.size();
  std::mt19937 random(11);
  for (int64_t done = 0; done < tokens; done += chunk) {
    StepPlan plan;
    Segment segment;
    segment.slot = copy.slots[0].id();
    segment.rows = static_cast<int32_t>(std::min(chunk, tokens - done));
    segment.position = done;
    plan.segments = {segment};
    for (int32_t i = 0; i < segment.rows; ++i) {
      plan.tokens.push_back(
          static_cast<int32_t>(random() % config().vocab_size));
    }
    const bool last = done + chunk >= tokens;
    if (last) plan.logits_rows = {segment.rows - 1};
    CHELA_RETURN_IF_ERROR(copy.model->Forward(
        plan, *copy.pool,
        std::span<float>(logits_).first(last ? config().vocab_size : 0)));
  }
  const auto drawing = Clock::now();
  Sample(0, 0);
  if (timer_ != nullptr) {
    timer_->EndStep(0, SecondsSince(start), SecondsSince(drawing));
  }
  return absl::OkStatus();
}

}  // namespace chela::bench
