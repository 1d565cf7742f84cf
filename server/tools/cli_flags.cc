#include "server/tools/cli_flags.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "absl/time/time.h"

namespace chela {
namespace {

constexpr absl::Duration kMaxTimeout = absl::Hours(365 * 24);

// Rounded up, so that no timeout becomes 0, which is none.
std::string ReadTimeout(const std::string& text,
                        std::chrono::milliseconds* out) {
  absl::Duration timeout;
  if (!absl::ParseDuration(text, &timeout) || timeout < absl::ZeroDuration() ||
      timeout > kMaxTimeout) {
    return "\"" + text +
           "\"; want a duration of at most 365 days, like 500ms, 30s or 5m";
  }
  *out = absl::ToChronoMilliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  return "";
}

}  // namespace

void AddCliFlags(CLI::App& app, CliCommand& command) {
  app.require_subcommand(1);
  app.fallthrough();  // Global options also after the subcommand.
  app.add_option("--target", command.options.target, "HOST:PORT of the server")
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--timeout", [](const std::string&) {},
         "Of a call: 500ms, 30s, 5m; 0: none [none]")
      ->check([&command](const std::string& text) {
        return ReadTimeout(text, &command.options.timeout);
      });
  app.add_flag("--json", command.options.json, "One JSON object on stdout");

  AddGenerateFlags(app, command.generate);
  AddSessionFlags(app, command.session);
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
