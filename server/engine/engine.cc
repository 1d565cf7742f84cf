#include "server/engine/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/model_config.h"
#include "server/engine/check_job.h"
#include "server/engine/engine_impl.h"
#include "server/engine/generation.h"
#include "server/engine/score.h"
#include "server/engine/token_stream.h"

namespace chela {

std::unique_ptr<Engine> Engine::Start(
    const EngineLimits& limits, ChelaModel& model, StatePool& pool,
    const Tokenizer& tokenizer, Metrics& metrics,
    std::function<void(const absl::Status&)> on_fault) {
  return std::make_unique<EngineImpl>(limits, model, pool, tokenizer, metrics,
                                      std::move(on_fault));
}

EngineImpl::EngineImpl(const EngineLimits& limits, ChelaModel& model,
                       StatePool& pool, const Tokenizer& tokenizer,
                       Metrics& metrics,
                       std::function<void(const absl::Status&)> on_fault)
    : limits_(limits),
      model_(model),
      pool_(pool),
      tokenizer_(tokenizer),
      metrics_(metrics),
      on_fault_(std::move(on_fault)),
      max_rows_(std::max(std::min(limits.max_batch_tokens, model.max_rows()),
                         static_cast<int32_t>(kChunkTokens))),
      vocab_size_(model.config().vocab_size),
      slots_total_(pool.num_slots()),
      slot_bytes_(pool.slot_bytes()),
      wake_(std::make_shared<WakeSignal>()),
      prefixes_(limits.prefix_cache_bytes, pool, metrics) {
  Publish(Count());
  thread_ = std::thread([this] { Loop(); });
}

EngineImpl::~EngineImpl() { Stop(); }

absl::Status EngineImpl::Submit(GenerateJob job) {
  if (absl::Status status =
          CheckJob(job, limits_, vocab_size_, slots_total_, slot_bytes_);
      !status.ok()) {
    return Rejected("invalid", std::move(status));
  }
  job.stream->SetWake(wake_);
  return Enqueue(std::make_unique<Generation>(
      std::move(job), tokenizer_, model_, candidates_, prefixes_, metrics_));
}

absl::Status EngineImpl::Submit(ScoreJob job) {
  if (absl::Status status = CheckJob(job, limits_, vocab_size_); !status.ok()) {
    return Rejected("invalid", std::move(status));
  }
  job.stream->SetWake(wake_);
  return Enqueue(MakeScore(std::move(job), vocab_size_, metrics_));
}

absl::Status EngineImpl::Rejected(const char* reason, absl::Status status) {
  metrics_.AdmissionRejected(reason);
  return status;
}

absl::Status EngineImpl::CheckOpen() const {
  if (!fault_.ok()) return fault_;
  if (stopping_ || draining_) {
    return absl::UnavailableError(
        "the server is shutting down and takes no new requests");
  }
  return absl::OkStatus();
}

absl::Status EngineImpl::Enqueue(std::unique_ptr<Sequence> sequence) {
  const std::optional<Clock::time_point> deadline = sequence->header().deadline;
  if (deadline.has_value() && *deadline <= Clock::now()) {
    return Rejected("deadline",
                    absl::DeadlineExceededError(
                        "the deadline had passed when the request arrived"));
  }
  const int64_t queued_tokens = sequence->queued_tokens();
  absl::Status open;
  int64_t ahead = 0;
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    open = CheckOpen();
    ahead = published_.waiting + static_cast<int64_t>(inbox_.size());
    // Requests for which a slot is free don't count as waiting: the engine's
    // thread has just not come round to them.
    full = ahead - published_.slots_free >= limits_.max_waiting;
    if (open.ok() && !full) {
      inbox_tokens_ += queued_tokens;
      inbox_.push_back(std::move(sequence));
      ++outstanding_;
    }
  }
  if (!open.ok()) return Rejected("draining", std::move(open));
  if (full) {
    return Rejected("queue_full",
                    absl::ResourceExhaustedError(absl::StrCat(
                        "queue: ", ahead, " requests wait; want fewer than ",
                        limits_.max_waiting, ", try again later")));
  }
  wake_->Notify();
  return absl::OkStatus();
}

EngineLoad EngineImpl::Load() const {
  EngineLoad load;
  load.slots_total = slots_total_;
  load.slot_bytes = slot_bytes_;
  const std::lock_guard lock(mutex_);
  load.running = published_.running;
  load.waiting = published_.waiting + static_cast<int32_t>(inbox_.size());
  load.queued_tokens = published_.queued_tokens + inbox_tokens_;
  load.slots_free = published_.slots_free;
  load.draining = draining_ || stopping_;
  load.healthy = fault_.ok();
  return load;
}

void EngineImpl::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool EngineImpl::WaitIdle(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return outstanding_ == 0; });
}

void EngineImpl::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_->Notify();
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace chela
