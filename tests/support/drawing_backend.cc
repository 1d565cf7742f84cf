#include "tests/support/drawing_backend.h"

#include <cmath>
#include <span>
#include <vector>

#include "kernels/status_macros.h"
#include "kernels/validate.h"
#include "models/candidates.h"

namespace chela::test_support {
namespace {

float Penalised(float logit, const DrawRule& rule, int32_t generated) {
  if (rule.repetition_penalty != 1) {
    logit = static_cast<float>(logit > 0 ? logit / rule.repetition_penalty
                                         : logit * rule.repetition_penalty);
  }
  if (generated == 0) return logit;
  logit = static_cast<float>(logit - rule.presence_penalty);
  return static_cast<float>(logit - rule.frequency_penalty * generated);
}

int32_t DrawFrom(std::span<const float> logits, const DrawRule& rule,
                 const DrawInputs& inputs) {
  Candidates candidates;
  candidates.Reset(logits);
  if (rule.num_biases + rule.num_counts > 0) {
    const std::span<float> edited = candidates.Edit();
    for (const TokenBias& one :
         inputs.biases.subspan(rule.first_bias, rule.num_biases)) {
      edited[one.token] =
          std::isinf(one.bias) ? one.bias : edited[one.token] + one.bias;
    }
    for (const TokenCount& one :
         inputs.counts.subspan(rule.first_count, rule.num_counts)) {
      edited[one.token] = Penalised(edited[one.token], rule, one.generated);
    }
  }
  if (std::isinf(rule.inverse_temperature)) {
    candidates.KeepMostLikely(1);
  } else {
    candidates.Scale(1.0 / double{rule.inverse_temperature});
  }
  if (rule.top_k > 0) {
    candidates.KeepMostLikely(static_cast<size_t>(rule.top_k));
  }
  if (rule.top_p < 1) candidates.KeepNucleus(rule.top_p);
  if (rule.min_p > 0) candidates.KeepHeavierThan(rule.min_p);
  return candidates.Draw(rule.uniform);
}

}  // namespace

absl::Status DrawingBackend::Run(const Draw& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  const auto vocab = static_cast<size_t>(op.vocab);
  for (size_t i = 0; i < op.inputs.rules.size(); ++i) {
    const DrawRule& rule = op.inputs.rules[i];
    if (rule.inverse_temperature < 0) continue;
    op.tokens[i] = DrawFrom({op.logits + i * vocab, vocab}, rule, op.inputs);
    ++tokens_drawn_;
  }
  return absl::OkStatus();
}

absl::Status DrawingBackend::Download(const void* device, void* host,
                                      size_t bytes) {
  bytes_downloaded_ += static_cast<int64_t>(bytes);
  return ForwardingBackend::Download(device, host, bytes);
}

}  // namespace chela::test_support
