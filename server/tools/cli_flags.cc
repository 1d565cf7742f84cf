#include "server/tools/cli_flags.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

namespace chela {
namespace {

// "500ms", "30s", "5m", or seconds as a number.
std::string ReadTimeout(const std::string& text,
                        std::chrono::milliseconds* out) {
  size_t used = 0;
  double count = 0;
  try {
    count = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double ms = unit == "ms"                  ? 1
                    : unit == "s" || unit.empty() ? 1e3
                    : unit == "m"                 ? 60e3
                                                  : 0;
  if (used == 0 || ms == 0 || !(count >= 0 && count * ms < 1e12)) {
    return "\"" + text + "\"; want a duration like 500ms, 30s or 5m";
  }
  *out = std::chrono::milliseconds(static_cast<int64_t>(count * ms));
  return "";
}

template <typename Number>
void AddNumber(CLI::App& app, const std::string& name,
               std::function<void(Number)> set, const std::string& help) {
  app.add_option_function<Number>(name, std::move(set), help);
}

void AddGenerate(CLI::App& app, CliCommand& command) {
  CLI::App* generate =
      app.add_subcommand("generate", "Continue a prompt, streaming its text");
  v1::GenerateRequest* request = &command.generate;
  v1::SamplingParams* sampling = request->mutable_sampling();
  generate->add_option_function<std::string>(
      "prompt,--prompt",
      [request](const std::string& p) { request->set_prompt(p); },
      "The text to continue [standard input]");
  AddNumber<int32_t>(
      *generate, "--max-tokens",
      [=](int32_t v) { sampling->set_max_tokens(v); },
      "The most tokens to generate [256]");
  AddNumber<double>(
      *generate, "--temperature",
      [=](double v) { sampling->set_temperature(v); },
      "0 .. 100, 0 is greedy [1]");
  AddNumber<int32_t>(
      *generate, "--top-k", [=](int32_t v) { sampling->set_top_k(v); },
      "Only the k most likely tokens [0 = off]");
  AddNumber<double>(
      *generate, "--top-p", [=](double v) { sampling->set_top_p(v); },
      "Only the most likely tokens that sum to p [1 = off]");
  AddNumber<uint64_t>(
      *generate, "--seed", [=](uint64_t v) { sampling->set_seed(v); },
      "Fixes the random choices [a random one]");
  generate
      ->add_option_function<std::vector<std::string>>(
          "--stop",
          [=](const std::vector<std::string>& stops) {
            for (const std::string& stop : stops) sampling->add_stop(stop);
          },
          "Ends where this text appears; may be repeated")
      ->expected(1)
      ->take_all();
  generate->add_flag_function(
      "--ignore-eos", [=](int64_t) { sampling->set_ignore_eos(true); },
      "Go on after the end-of-sequence token");
  AddNumber<int32_t>(
      *generate, "--logprobs", [=](int32_t v) { sampling->set_logprobs(v); },
      "Log-probabilities of this many tokens (with --json)");
  AddNumber<int32_t>(
      *generate, "--priority", [=](int32_t v) { request->set_priority(v); },
      "-100 .. 100, higher runs first [0]");
  generate->add_option_function<std::string>(
      "--user", [=](const std::string& v) { request->set_user(v); },
      "Who asks, for the server's logs");
}

}  // namespace

void AddCliFlags(CLI::App& app, CliCommand& command) {
  app.require_subcommand(1);
  app.fallthrough();  // Global options also after the subcommand.
  app.add_option("--target", command.options.target, "HOST:PORT of the server")
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--timeout", [](const std::string&) {},
         "Of a call: 500ms, 30s, 5m [none]")
      ->check([&command](const std::string& text) {
        return ReadTimeout(text, &command.options.timeout);
      });
  app.add_flag("--json", command.options.json, "One JSON object on stdout");

  AddGenerate(app, command);
  CLI::App* score = app.add_subcommand(
      "score", "How likely the model finds a text, document by document");
  score->add_option("--text-file", command.text_file,
                    "UTF-8 text; lines with only U+000C separate documents "
                    "[standard input]");
  CLI::App* tokenize = app.add_subcommand("tokenize", "Text to token ids");
  tokenize->add_option_function<std::string>(
      "text,--text",
      [&command](const std::string& text) {
        command.tokenize.set_text(text);
        command.tokenize_text_given = true;
      },
      "The text [standard input]");
  app.add_subcommand("info", "What the server has loaded");
  app.add_subcommand("health", "Whether the server is ready")
      ->add_option("--service", command.service,
                   "\"\" asks for the process alone")
      ->capture_default_str();
}

}  // namespace chela
