#include "server/tools/generate_flags.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"

namespace chela {
namespace {

template <typename Number>
void AddNumber(CLI::App& app, v1::SamplingParams* params,
               const std::string& name, void (v1::SamplingParams::*set)(Number),
               const std::string& help) {
  app.add_option_function<Number>(
      name, [=](Number value) { (params->*set)(value); }, help);
}

void AddBoolean(CLI::App& app, v1::SamplingParams* params,
                const std::string& name, void (v1::SamplingParams::*set)(bool),
                const std::string& help) {
  app.add_flag_function(
      name, [=](int64_t) { (params->*set)(true); }, help);
}

// "1,2,3"; may be repeated.
void AddIds(CLI::App& app, v1::SamplingParams* params, const std::string& name,
            void (v1::SamplingParams::*add)(int32_t), const std::string& help) {
  app.add_option_function<std::vector<int32_t>>(
         name,
         [=](const std::vector<int32_t>& ids) {
           for (const int32_t id : ids) (params->*add)(id);
         },
         help + " (ID,ID,...; may be repeated)")
      ->delimiter(',')
      ->expected(1)
      ->take_all();
}

// "ID=BIAS" or "ID:BIAS" into the map; what is wrong with it, if anything.
std::string ReadBias(const std::string& text, v1::SamplingParams* params) {
  const size_t split = text.find_first_of("=:");
  int32_t token = 0;
  float bias = 0;
  if (split == std::string::npos ||
      !absl::SimpleAtoi(text.substr(0, split), &token) ||
      !absl::SimpleAtof(text.substr(split + 1), &bias)) {
    return "\"" + text + "\"; want ID=BIAS, like 13=-5";
  }
  (*params->mutable_logit_bias())[token] = bias;
  return "";
}

void AddLengthsAndStops(CLI::App& app, v1::SamplingParams* params) {
  using P = v1::SamplingParams;
  AddNumber<int32_t>(app, params, "--max-tokens", &P::set_max_tokens,
                     "The most tokens to generate [256]");
  AddNumber<int32_t>(app, params, "--min-tokens", &P::set_min_tokens,
                     "The first so many do not end the text [0]");
  app.add_option_function<std::vector<std::string>>(
         "--stop",
         [=](const std::vector<std::string>& stops) {
           for (const std::string& stop : stops) params->add_stop(stop);
         },
         "Ends where this text appears; may be repeated")
      ->expected(1)
      ->take_all();
  AddIds(app, params, "--stop-token-ids", &P::add_stop_token_ids,
         "Ends at one of these tokens");
  AddBoolean(app, params, "--include-stop", &P::set_include_stop,
             "Keep the stop at the end of the text");
  AddBoolean(app, params, "--ignore-eos", &P::set_ignore_eos,
             "Go on after the end-of-sequence token");
}

void AddDistribution(CLI::App& app, v1::SamplingParams* params) {
  using P = v1::SamplingParams;
  AddNumber<double>(app, params, "--temperature", &P::set_temperature,
                    "0 .. 100, 0 is greedy [1]");
  AddNumber<int32_t>(app, params, "--top-k", &P::set_top_k,
                     "Only the k most likely tokens [0 = off]");
  AddNumber<double>(app, params, "--top-p", &P::set_top_p,
                    "Only the most likely tokens that sum to p [1 = off]");
  AddNumber<double>(app, params, "--min-p", &P::set_min_p,
                    "Only tokens p times as likely as the likeliest [0 = off]");
  AddNumber<double>(app, params, "--typical-p", &P::set_typical_p,
                    "Only the most typical tokens that sum to p [1 = off]");
  AddNumber<double>(app, params, "--repetition-penalty",
                    &P::set_repetition_penalty,
                    "Divides logits of tokens seen so far [1 = off]");
  AddNumber<double>(app, params, "--presence-penalty", &P::set_presence_penalty,
                    "Off the logits of generated tokens [0 = off]");
  AddNumber<double>(app, params, "--frequency-penalty",
                    &P::set_frequency_penalty,
                    "The same, for each time they were generated [0 = off]");
  AddNumber<int32_t>(app, params, "--penalty-window", &P::set_penalty_window,
                     "Tokens that the penalties look back [all]");
  AddNumber<uint64_t>(app, params, "--seed", &P::set_seed,
                      "Fixes the random choices [a random one]");
  app.add_option("--logit-bias",
                 "Added to a token's logit, -100 .. 100 (ID=BIAS,...; may be "
                 "repeated)")
      ->delimiter(',')
      ->expected(1)
      ->take_all()
      ->type_name("ID=BIAS")
      ->check([=](const std::string& text) { return ReadBias(text, params); });
  AddIds(app, params, "--allowed-token-ids", &P::add_allowed_token_ids,
         "No other tokens are drawn");
  AddIds(app, params, "--banned-token-ids", &P::add_banned_token_ids,
         "Never drawn");
}

void AddAnswer(CLI::App& app, v1::SamplingParams* params) {
  using P = v1::SamplingParams;
  AddNumber<int32_t>(app, params, "--logprobs", &P::set_logprobs,
                     "Log-probabilities of this many tokens (with --json)");
  AddNumber<int32_t>(app, params, "--prompt-logprobs", &P::set_prompt_logprobs,
                     "The same of the prompt's tokens (with --json)");
  AddBoolean(app, params, "--echo", &P::set_echo,
             "The text starts with the prompt");
  AddNumber<int32_t>(app, params, "-n,--n", &P::set_n,
                     "Choices to return, one after the other [1]");
  AddNumber<int32_t>(app, params, "--best-of", &P::set_best_of,
                     "Generate so many and return the n likeliest [n]");
}

void AddTurn(CLI::App& app, GenerateCommand& command) {
  v1::GenerateRequest* request = &command.request;
  app.add_option_function<std::string>(
      "--session",
      [request](const std::string& id) { request->set_session(id); },
      "Continue this session; without a text it resumes");
  app.add_option_function<int64_t>(
      "--expected-revision",
      [request](int64_t number) { request->set_expected_revision(number); },
      "That the session must have; the one before: replace the newest");
  app.add_option_function<std::string>(
      "--checkpoint",
      [request](const std::string& name) { request->set_checkpoint(name); },
      "Keep the state after this turn under a name");
  app.add_option("--state", command.state_file,
                 "Go on from the state in this file");
  app.add_option("--return-state", command.return_state_file,
                 "Write the state after the last token to this file");
  app.add_option_function<std::vector<int64_t>>(
         "--cache-at",
         [request](const std::vector<int64_t>& points) {
           for (const int64_t point : points) request->add_cache_at(point);
         },
         "Prompt prefixes worth keeping (TOKENS,...; may be repeated)")
      ->delimiter(',')
      ->expected(1)
      ->take_all();
  app.add_option_function<std::string>(
      "--cache-salt",
      [request](const std::string& salt) { request->set_cache_salt(salt); },
      "Share cached states only with requests of this salt");
  app.add_option_function<int32_t>(
      "--cache-pin-seconds",
      [request](int32_t seconds) { request->set_cache_pin_seconds(seconds); },
      "Keep the states at --cache-at for so long; 0: no longer");
}

}  // namespace

void AddGenerateFlags(CLI::App& app, GenerateCommand& command) {
  CLI::App* generate =
      app.add_subcommand("generate", "Continue a prompt, streaming its text");
  v1::GenerateRequest* request = &command.request;
  generate->add_option_function<std::string>(
      "prompt,--prompt",
      [request](const std::string& p) { request->set_prompt(p); },
      "The text to continue [standard input]");
  v1::SamplingParams* params = request->mutable_sampling();
  AddLengthsAndStops(*generate, params);
  AddDistribution(*generate, params);
  AddAnswer(*generate, params);
  AddTurn(*generate, command);
  generate->add_option_function<int32_t>(
      "--priority", [request](int32_t v) { request->set_priority(v); },
      "-100 .. 100, higher runs first [0]");
  generate->add_option_function<std::string>(
      "--user", [request](const std::string& v) { request->set_user(v); },
      "Who asks, for the server's logs");
}

}  // namespace chela
