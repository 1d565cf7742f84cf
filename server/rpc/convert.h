#ifndef CHELA_SERVER_RPC_CONVERT_H_
#define CHELA_SERVER_RPC_CONVERT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "chela/v1/generation.pb.h"
#include "models/generation_defaults.h"
#include "models/tokenizer.h"
#include "server/engine/request.h"
#include "server/engine/score_stream.h"
#include "server/engine/token_stream.h"

namespace chela {

// What a request is checked against. Borrows the tokenizer.
struct ConvertContext {
  const Tokenizer* tokenizer = nullptr;
  GenerationDefaults defaults;  // of the checkpoint
  int64_t max_prompt_tokens = 1048576;
  int32_t max_output_tokens = 65536;
  int32_t state_slots = kMaxChoices;  // that a request may hold at once
};

// Bytes of text and token ids in a request: what decides whether it is
// converted in the callback or on a worker.
int64_t InputBytes(const v1::GenerateRequest& request);
int64_t InputBytes(const v1::ScoreRequest& request);

// The text that a request goes on from, and whether it is to go on later.
struct TurnInput {
  SequenceStatePtr start;
  bool keep_state = false;
};

// The job without id, deadline and stream: prompt tokenised, every range
// checked, defaults filled in (the checkpoint's, then the API's), a random
// seed if there is none. INVALID_ARGUMENT names every wrong field, with
// `prefix` before its path.
absl::StatusOr<GenerateJob> ToGenerateJob(const v1::GenerateRequest& request,
                                          const ConvertContext& context,
                                          const std::string& prefix,
                                          const TurnInput& turn = {});

// The text that stands before each choice of the job made of `request`: the
// prompt, if it is to be echoed. INVALID_ARGUMENT if that makes too long an
// answer.
absl::StatusOr<std::string> ToEcho(const v1::GenerateRequest& request,
                                   const GenerateJob& job,
                                   const Tokenizer& tokenizer,
                                   const std::string& prefix);

// A Score request as tokens. Continuations of an empty text prefix are encoded
// as the start of a text, so that they score as ScoreStream would.
struct ScoreTokens {
  std::vector<int32_t> prefix;
  std::vector<std::vector<int32_t>> continuations;
  int32_t priority = 0;
  std::string cache_salt;
};
absl::StatusOr<ScoreTokens> ToScoreTokens(const v1::ScoreRequest& request,
                                          const ConvertContext& context);

// Ids of a client's list, each checked to be in the vocabulary.
// INVALID_ARGUMENT names the first wrong one.
absl::StatusOr<std::vector<int32_t>> ToTokens(const v1::TokenIds& tokens,
                                              const Tokenizer& tokenizer,
                                              const std::string& path);

v1::FinishReason ToProto(FinishReason reason);
v1::CacheTier ToProto(CacheTier tier);
void ToProto(const Usage& usage, v1::Usage* out);
// Without the usage, which only the last choice's end has.
void ToProto(const ChoiceEnd& end, uint64_t seed, v1::Finish* out);

// Appends tokens, and their log-probabilities if `logprobs` were asked for.
void AppendTokens(const std::vector<SampledToken>& tokens, bool logprobs,
                  const Tokenizer& tokenizer, v1::TokenIds* ids,
                  google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* out);
void AppendLogprobs(const std::vector<SampledToken>& tokens,
                    const Tokenizer& tokenizer,
                    google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* out);

// The answer to Score from what was asked and what the engine found.
void ToProto(const ScoreStream& stream, const ScoreStream::End& end,
             const Tokenizer& tokenizer, v1::ScoreResponse* out);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_CONVERT_H_
