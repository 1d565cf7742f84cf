#include <cstddef>

#include "server/rpc/convert.h"

namespace chela {
namespace {

void SetLogprob(int32_t token, float logprob, bool at_start,
                const Tokenizer& tokenizer, v1::TokenLogprob* out) {
  out->set_token(token);
  out->set_logprob(logprob);
  out->set_bytes(tokenizer.TokenBytes(token, at_start));
}

}  // namespace

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case FinishReason::kError:
      break;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::CacheTier ToProto(CacheTier tier) {
  switch (tier) {
    case CacheTier::kDevice:
      return v1::CACHE_TIER_DEVICE;
    case CacheTier::kHost:
      return v1::CACHE_TIER_HOST;
    case CacheTier::kDisk:
      return v1::CACHE_TIER_DISK;
    case CacheTier::kNone:
      break;
  }
  return v1::CACHE_TIER_UNSPECIFIED;
}

void ToProto(const Usage& usage, v1::Usage* out) {
  out->set_prompt_tokens(usage.prompt_tokens);
  out->set_cached_prompt_tokens(usage.cached_prompt_tokens);
  out->set_generated_tokens(usage.generated_tokens);
  out->set_queue_seconds(usage.queue_seconds);
  out->set_prefill_seconds(usage.prefill_seconds);
  out->set_time_to_first_token_seconds(usage.time_to_first_token_seconds);
  out->set_decode_seconds(usage.decode_seconds);
  out->set_dropped_bytes(usage.dropped_bytes);
  out->set_cached_tier(ToProto(usage.cached_tier));
  out->set_pinned_tokens(usage.pinned_tokens);
}

void ToProto(const ChoiceEnd& end, uint64_t seed, v1::Finish* out) {
  out->set_reason(ToProto(end.reason));
  out->set_stop(end.stop);
  if (end.stop_token.has_value()) out->set_stop_token(*end.stop_token);
  out->set_seed(seed);
  out->set_truncated_bytes(end.truncated_bytes);
  if (end.log_probability.has_value()) {
    out->set_log_probability(*end.log_probability);
  }
}

void AppendTokens(const std::vector<SampledToken>& tokens, bool logprobs,
                  const Tokenizer& tokenizer, v1::TokenIds* ids,
                  google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* out) {
  for (const SampledToken& token : tokens) ids->add_ids(token.token);
  if (logprobs) AppendLogprobs(tokens, tokenizer, out);
}

void AppendLogprobs(
    const std::vector<SampledToken>& tokens, const Tokenizer& tokenizer,
    google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* out) {
  for (const SampledToken& token : tokens) {
    v1::TokenLogprobs* entry = out->Add();
    SetLogprob(token.token, token.logprob, false, tokenizer,
               entry->mutable_chosen());
    for (const TokenLogprob& top : token.top) {
      SetLogprob(top.token, top.logprob, false, tokenizer, entry->add_top());
    }
  }
}

void ToProto(const ScoreStream& stream, const ScoreStream::End& end,
             const Tokenizer& tokenizer, v1::ScoreResponse* out) {
  const std::vector<int32_t>& prefix = stream.prefix();
  const bool no_context = prefix.empty();
  // A dummy prefix belongs to the first token after BOS, too.
  const bool starts_text =
      no_context || (prefix.size() == 1 && prefix[0] == tokenizer.bos_id());
  for (size_t i = 0; i < stream.continuations().size(); ++i) {
    const std::vector<int32_t>& tokens = stream.continuations()[i];
    v1::ContinuationScore* score = out->add_scores();
    double sum = 0;
    for (size_t j = 0; j < tokens.size(); ++j) {
      const float logprob = end.continuations[i][j];
      sum += logprob;
      SetLogprob(tokens[j], logprob, starts_text && j == 0, tokenizer,
                 score->add_tokens());
    }
    score->set_log_probability(sum);
    score->set_scored_tokens(
        static_cast<int32_t>(tokens.size() - (no_context ? 1 : 0)));
  }
  ToProto(end.usage, out->mutable_usage());
}

}  // namespace chela
