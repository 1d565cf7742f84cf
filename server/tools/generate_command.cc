#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "chela/v1/generation.grpc.pb.h"
#include "server/tools/commands.h"
#include "server/tools/state_file.h"

namespace chela {
namespace {

using nlohmann::ordered_json;

// The rest of an enum's name after `prefix`, in lower case.
std::string LowerName(std::string name, const std::string& prefix) {
  if (name.rfind(prefix, 0) == 0) name = name.substr(prefix.size());
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

// FINISH_REASON_LENGTH -> "length".
std::string ReasonName(v1::FinishReason reason) {
  return LowerName(v1::FinishReason_Name(reason), "FINISH_REASON_");
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

// What --json says of one choice; `Message` has a choice's fields.
template <typename Message>
ordered_json ChoiceJson(const Message& choice) {
  ordered_json object = {
      {"text", choice.text()},
      {"tokens", ordered_json::array()},
      {"finish_reason", ReasonName(choice.finish().reason())},
      {"stop", choice.finish().stop()}};
  for (const int32_t id : choice.tokens().ids()) object["tokens"].push_back(id);
  if (choice.finish().has_stop_token()) {
    object["stop_token"] = choice.finish().stop_token();
  }
  if (choice.finish().has_log_probability()) {
    object["log_probability"] = choice.finish().log_probability();
  }
  for (const v1::TokenLogprobs& entry : choice.logprobs()) {
    object["logprobs"].push_back(LogprobJson(entry));
  }
  return object;
}

ordered_json ToJson(const v1::GenerateResponse& result) {
  const v1::Usage& usage = result.finish().usage();
  ordered_json object = ChoiceJson(result);
  object["usage"] = {{"prompt_tokens", usage.prompt_tokens()},
                     {"cached_prompt_tokens", usage.cached_prompt_tokens()},
                     {"generated_tokens", usage.generated_tokens()}};
  if (usage.cached_tier() != v1::CACHE_TIER_UNSPECIFIED) {
    object["usage"]["cached_tier"] =
        LowerName(v1::CacheTier_Name(usage.cached_tier()), "CACHE_TIER_");
  }
  if (usage.pinned_tokens() > 0) {
    object["usage"]["pinned_tokens"] = usage.pinned_tokens();
  }
  object["timing"] = {
      {"queue_seconds", usage.queue_seconds()},
      {"prefill_seconds", usage.prefill_seconds()},
      {"time_to_first_token_seconds", usage.time_to_first_token_seconds()},
      {"decode_seconds", usage.decode_seconds()},
      {"tokens_per_second", TokensPerSecond(usage)}};
  if (result.has_revision()) object["revision"] = result.revision();
  if (usage.dropped_bytes() > 0) {
    object["usage"]["dropped_bytes"] = usage.dropped_bytes();
  }
  for (const v1::TokenLogprobs& entry : result.prompt_logprobs()) {
    object["prompt_logprobs"].push_back(LogprobJson(entry));
  }
  for (const v1::Choice& choice : result.choices()) {
    object["choices"].push_back(ChoiceJson(choice));
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

// More than any server makes: what a client is ready for.
constexpr int32_t kMaxChoices = 1024;

// A stream's answer, and its texts in the order in which a person can read
// them: choice by choice, each but the last with a newline behind it. What
// comes of a later choice waits.
class Answer {
 public:
  explicit Answer(int32_t choices)
      : choices_(static_cast<size_t>(std::clamp(choices, 1, kMaxChoices))) {}

  // What may be printed now.
  std::string Add(v1::GenerateStreamResponse& message) {
    result_.mutable_prompt_logprobs()->MergeFrom(message.prompt_logprobs());
    const auto index =
        static_cast<size_t>(std::clamp(message.choice(), 0, kMaxChoices - 1));
    if (index >= choices_.size()) choices_.resize(index + 1);
    if (message.has_revision()) result_.set_revision(message.revision());
    if (message.has_state())
      result_.set_state(std::move(*message.mutable_state()));
    Part& part = choices_[index];
    part.choice.mutable_text()->append(message.text());
    part.choice.mutable_tokens()->MergeFrom(message.tokens());
    part.choice.mutable_logprobs()->MergeFrom(message.logprobs());
    if (message.has_finish()) {
      *part.choice.mutable_finish() = message.finish();
      if (message.finish().has_usage()) {
        *usage_.mutable_usage() = message.finish().usage();
      }
    }
    std::string text;
    for (; shown_ < choices_.size(); ++shown_) {
      Part& next = choices_[shown_];
      text += next.choice.text().substr(next.printed);
      next.printed = next.choice.text().size();
      if (!next.choice.has_finish() || shown_ + 1 == choices_.size()) break;
      text += "\n";
    }
    return text;
  }

  v1::GenerateResponse Take() {
    const v1::Choice& first = choices_[0].choice;
    result_.set_text(first.text());
    *result_.mutable_tokens() = first.tokens();
    *result_.mutable_logprobs() = first.logprobs();
    *result_.mutable_finish() = first.finish();
    *result_.mutable_finish()->mutable_usage() = usage_.usage();
    if (choices_.size() > 1) {
      for (const Part& part : choices_) *result_.add_choices() = part.choice;
    }
    return std::move(result_);
  }

 private:
  struct Part {
    v1::Choice choice;
    size_t printed = 0;
  };

  std::vector<Part> choices_;
  size_t shown_ = 0;
  v1::Finish usage_;
  v1::GenerateResponse result_;
};

bool CheckTexts(const v1::GenerateRequest& request) {
  for (const auto& [field, text] :
       {std::pair("prompt", request.prompt()),
        std::pair("user", request.user()),
        std::pair("session", request.session()),
        std::pair("checkpoint", request.checkpoint()),
        std::pair("cache-salt", request.cache_salt())}) {
    if (!CheckUtf8(field, text)) return false;
  }
  for (const std::string& stop : request.sampling().stop()) {
    if (!CheckUtf8("stop", stop)) return false;
  }
  return true;
}

}  // namespace

int RunGenerate(const ClientOptions& options, GenerateCommand command,
                Interrupts& interrupts) {
  v1::GenerateRequest& request = command.request;
  if (!command.state_file.empty() &&
      !ReadFile(command.state_file, request.mutable_state())) {
    return 1;
  }
  if (!command.return_state_file.empty()) request.set_return_state(true);
  // A person who names a session and no text wants it to go on.
  const bool resumes = (request.has_session() || request.has_state()) &&
                       isatty(STDIN_FILENO) == 1;
  if (request.input_case() == v1::GenerateRequest::INPUT_NOT_SET && !resumes) {
    request.set_prompt(ReadStandardInput());
  }
  if (!CheckTexts(request)) return 1;
  Answer answer(request.sampling().n());
  v1::GenerateStreamRequest wrapped;
  *wrapped.mutable_request() = std::move(request);
  const auto stub = v1::GenerationService::NewStub(Connect(options));
  grpc::ClientContext context;
  Prepare(options, context);
  const Interrupts::Scope scope(interrupts, context);
  const auto reader = stub->GenerateStream(&context, wrapped);

  v1::GenerateStreamResponse message;
  bool pipe_broken = false;
  while (reader->Read(&message)) {
    const std::string text = answer.Add(message);
    if (!options.json && !pipe_broken && !Print(text)) {
      pipe_broken = true;
      context.TryCancel();
    }
  }
  const grpc::Status status = reader->Finish();
  if (pipe_broken) return 1;  // Whoever closed the pipe knows why.
  if (!options.json && isatty(STDOUT_FILENO) == 1 && !Print("\n")) return 1;
  if (!status.ok()) return Report(status);
  const v1::GenerateResponse result = answer.Take();
  if (!command.return_state_file.empty() &&
      !WriteFile(command.return_state_file, result.state())) {
    return 1;
  }
  if (options.json) return PrintJson(ToJson(result)) ? 0 : 1;
  PrintStatistics(result.finish());
  if (result.has_revision()) {
    std::fprintf(stderr, "session revision: %lld\n",
                 static_cast<long long>(result.revision()));
  }
  return 0;
}

}  // namespace chela
