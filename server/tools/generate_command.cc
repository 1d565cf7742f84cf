#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "chela/v1/generation.grpc.pb.h"
#include "server/tools/commands.h"

namespace chela {
namespace {

using nlohmann::ordered_json;

// FINISH_REASON_LENGTH -> "length".
std::string ReasonName(v1::FinishReason reason) {
  const std::string prefix = "FINISH_REASON_";
  std::string name = v1::FinishReason_Name(reason);
  if (name.rfind(prefix, 0) == 0) name = name.substr(prefix.size());
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

// Of the tokens after the first one: that one belongs to the prompt's time.
double TokensPerSecond(const v1::Usage& usage) {
  if (usage.generated_tokens() < 2 || usage.decode_seconds() <= 0) return 0;
  return (usage.generated_tokens() - 1) / usage.decode_seconds();
}

ordered_json LogprobJson(const v1::TokenLogprobs& entry) {
  ordered_json top = ordered_json::array();
  for (const v1::TokenLogprob& one : entry.top()) {
    top.push_back({{"token", one.token()}, {"logprob", one.logprob()}});
  }
  return {{"token", entry.chosen().token()},
          {"logprob", entry.chosen().logprob()},
          {"top", top}};
}

ordered_json ToJson(const v1::GenerateResponse& result) {
  const v1::Usage& usage = result.finish().usage();
  ordered_json object = {
      {"text", result.text()},
      {"tokens", ordered_json::array()},
      {"finish_reason", ReasonName(result.finish().reason())},
      {"stop", result.finish().stop()},
      {"usage",
       {{"prompt_tokens", usage.prompt_tokens()},
        {"cached_prompt_tokens", usage.cached_prompt_tokens()},
        {"generated_tokens", usage.generated_tokens()}}},
      {"timing",
       {{"queue_seconds", usage.queue_seconds()},
        {"prefill_seconds", usage.prefill_seconds()},
        {"time_to_first_token_seconds", usage.time_to_first_token_seconds()},
        {"decode_seconds", usage.decode_seconds()},
        {"tokens_per_second", TokensPerSecond(usage)}}}};
  for (const int32_t id : result.tokens().ids()) object["tokens"].push_back(id);
  for (const v1::TokenLogprobs& entry : result.logprobs()) {
    object["logprobs"].push_back(LogprobJson(entry));
  }
  return object;
}

void PrintStatistics(const v1::Finish& finish) {
  const v1::Usage& usage = finish.usage();
  std::fprintf(stderr,
               "%d prompt tokens, %d generated; first token after %.1f ms, "
               "%.1f tokens/s; finish: %s; seed: %llu\n",
               usage.prompt_tokens(), usage.generated_tokens(),
               usage.time_to_first_token_seconds() * 1e3,
               TokensPerSecond(usage), ReasonName(finish.reason()).c_str(),
               static_cast<unsigned long long>(finish.seed()));
}

}  // namespace

int RunGenerate(const ClientOptions& options, v1::GenerateRequest request,
                Interrupts& interrupts) {
  if (request.input_case() == v1::GenerateRequest::INPUT_NOT_SET) {
    request.set_prompt(ReadStandardInput());
  }
  if (!CheckUtf8("prompt", request.prompt()) ||
      !CheckUtf8("user", request.user())) {
    return 1;
  }
  for (const std::string& stop : request.sampling().stop()) {
    if (!CheckUtf8("stop", stop)) return 1;
  }
  v1::GenerateStreamRequest wrapped;
  *wrapped.mutable_request() = std::move(request);
  const auto stub = v1::GenerationService::NewStub(Connect(options));
  grpc::ClientContext context;
  Prepare(options, context);
  const Interrupts::Scope scope(interrupts, context);
  const auto reader = stub->GenerateStream(&context, wrapped);

  v1::GenerateResponse result;
  v1::GenerateStreamResponse message;
  bool pipe_broken = false;
  while (reader->Read(&message)) {
    if (!options.json && !pipe_broken && !Print(message.text())) {
      pipe_broken = true;
      context.TryCancel();
    }
    result.mutable_text()->append(message.text());
    result.mutable_tokens()->MergeFrom(message.tokens());
    result.mutable_logprobs()->MergeFrom(message.logprobs());
    if (message.has_finish()) *result.mutable_finish() = message.finish();
  }
  const grpc::Status status = reader->Finish();
  if (pipe_broken) return 1;  // Whoever closed the pipe knows why.
  if (!options.json && isatty(STDOUT_FILENO) == 1 && !Print("\n")) return 1;
  if (!status.ok()) return Report(status);
  if (options.json) return PrintJson(ToJson(result)) ? 0 : 1;
  PrintStatistics(result.finish());
  return 0;
}

}  // namespace chela
