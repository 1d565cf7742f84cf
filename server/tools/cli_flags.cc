#include "server/tools/cli_flags.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>

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
