#ifndef CHELA_SERVER_ENGINE_GENERATION_H_
#define CHELA_SERVER_ENGINE_GENERATION_H_

#include <cstdint>
#include <span>
#include <string>

#include "models/sampler.h"
#include "models/text_stream.h"
#include "models/tokenizer.h"
#include "server/engine/sequence.h"
#include "server/engine/token_stream.h"

namespace chela {

// A GenerateJob as a sequence: reads the prompt in chunks, then feeds each
// sampled token until one of them ends it. The last token is reported but
// never fed. Token n of a request is drawn with counter n, so what else runs
// has no say in it.
class Generation : public Sequence {
 public:
  // `tokenizer` must outlive it. The job is valid (CheckJob).
  Generation(GenerateJob job, const Tokenizer& tokenizer, Metrics& metrics);

  int64_t queued_tokens() const override { return prompt_size(); }
  bool cancelled() const override { return job_.stream->cancelled(); }
  Work NextWork() override;
  void AppendTo(StepPlan& plan) override;
  absl::Status Deliver(std::span<const float> logits) override;
  void Close() override;

 protected:
  absl::Status OnAdmit(StatePool& pool) override;
  void OnEnd() override;
  Clock::time_point cancelled_at() const override {
    return job_.stream->cancelled_at();
  }

 private:
  int64_t prompt_size() const {
    return static_cast<int64_t>(job_.prompt.size());
  }
  void SampleFrom(std::span<const float> logits);
  void CountToken();
  Usage MakeUsage() const;

  const GenerateJob job_;
  const Tokenizer& tokenizer_;
  Sampler sampler_;
  TextStream text_;
  int64_t position_ = 0;    // tokens fed
  int32_t last_token_ = 0;  // sampled, not yet fed
  int32_t generated_ = 0;   // tokens sampled
  std::string stop_;        // the stop string that matched
  Clock::time_point first_token_at_;
  Clock::time_point last_token_at_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_GENERATION_H_
