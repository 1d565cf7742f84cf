#include "server/engine/engine.h"

#include <mutex>
#include <utility>

#include "server/engine/admission_queue.h"
#include "server/engine/check_job.h"
#include "server/engine/generation.h"
#include "server/engine/replica.h"
#include "server/engine/score.h"
#include "server/engine/token_stream.h"

namespace chela {
namespace {

// The queue and the replicas that serve it.
class EngineGroup final : public Engine {
 public:
  EngineGroup(const EngineLimits& limits,
              const std::vector<EngineDevice>& devices,
              const Tokenizer& tokenizer, Metrics& metrics,
              const std::function<void(const absl::Status&)>& on_fault);
  ~EngineGroup() override { Stop(); }

  absl::Status Submit(GenerateJob job) override;
  absl::Status Submit(ScoreJob job) override;
  EngineLoad Load() const override { return queue_.Load(); }
  void Drain() override { queue_.Drain(); }
  bool WaitIdle(Clock::time_point deadline) override {
    return queue_.WaitIdle(deadline);
  }
  void Stop() override;

 private:
  absl::Status Invalid(absl::Status status);

  const EngineLimits limits_;
  const Tokenizer& tokenizer_;
  Metrics& metrics_;
  const int32_t vocab_size_;
  const int32_t slots_;  // of one replica: what a request may have
  const int64_t slot_bytes_;
  AdmissionQueue queue_;
  std::mutex join_mutex_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

EngineGroup::EngineGroup(
    const EngineLimits& limits, const std::vector<EngineDevice>& devices,
    const Tokenizer& tokenizer, Metrics& metrics,
    const std::function<void(const absl::Status&)>& on_fault)
    : limits_(limits),
      tokenizer_(tokenizer),
      metrics_(metrics),
      vocab_size_(devices.front().model.config().vocab_size),
      slots_(devices.front().pool.num_slots()),
      slot_bytes_(devices.front().pool.slot_bytes()),
      queue_(static_cast<int32_t>(devices.size()), slots_, slot_bytes_,
             limits.max_waiting, metrics) {
  EngineLimits of_one = limits;
  of_one.prefix_cache_bytes /= static_cast<int64_t>(devices.size());
  of_one.prefix_store_bytes /= static_cast<int64_t>(devices.size());
  of_one.prefix_pinned_bytes /= static_cast<int64_t>(devices.size());
  for (const EngineDevice& device : devices) {
    const auto index = static_cast<int32_t>(replicas_.size());
    replicas_.push_back(std::make_unique<Replica>(index, device, of_one, queue_,
                                                  metrics, on_fault));
  }
}

absl::Status EngineGroup::Submit(GenerateJob job) {
  if (absl::Status status =
          CheckJob(job, limits_, vocab_size_, slots_, slot_bytes_);
      !status.ok()) {
    return Invalid(std::move(status));
  }
  job.stream->SetWake(queue_.wake());
  return queue_.Submit(
      std::make_unique<Generation>(std::move(job), tokenizer_, metrics_));
}

absl::Status EngineGroup::Submit(ScoreJob job) {
  if (absl::Status status = CheckJob(job, limits_, vocab_size_); !status.ok()) {
    return Invalid(std::move(status));
  }
  job.stream->SetWake(queue_.wake());
  return queue_.Submit(MakeScore(std::move(job), vocab_size_, metrics_));
}

absl::Status EngineGroup::Invalid(absl::Status status) {
  metrics_.AdmissionRejected("invalid");
  return status;
}

void EngineGroup::Stop() {
  queue_.Stop();
  const std::lock_guard lock(join_mutex_);
  for (const std::unique_ptr<Replica>& replica : replicas_) replica->Join();
}

}  // namespace

std::unique_ptr<Engine> Engine::Start(
    const EngineLimits& limits, const std::vector<EngineDevice>& devices,
    const Tokenizer& tokenizer, Metrics& metrics,
    std::function<void(const absl::Status&)> on_fault) {
  return std::make_unique<EngineGroup>(limits, devices, tokenizer, metrics,
                                       on_fault);
}

}  // namespace chela
