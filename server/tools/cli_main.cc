// chela-cli: a client for people and scripts.
#include <CLI/CLI.hpp>
#include <string>

#include "server/tools/cli_flags.h"
#include "server/tools/commands.h"

namespace chela {
namespace {

constexpr int kUsageExit = 2;

int Run(const std::string& name, CliCommand& command, Interrupts& interrupts) {
  if (name == "generate") {
    return RunGenerate(command.options, std::move(command.generate),
                       interrupts);
  }
  if (name == "session") {
    return RunSession(command.options, command.session, interrupts);
  }
  if (name == "score") {
    return RunScore(command.options, command.text_file, interrupts);
  }
  if (name == "tokenize") {
    if (!command.tokenize_text_given) {
      command.tokenize.set_text(ReadStandardInput());
    }
    return RunTokenize(command.options, command.tokenize, interrupts);
  }
  if (name == "info") return RunInfo(command.options, interrupts);
  return RunHealth(command.options, command.service, interrupts);
}

int Main(int argc, char** argv) {
  CliCommand command;
  CLI::App app("A client of the CHELA inference server.", "chela-cli");
  app.set_version_flag("--version", "chela-cli " CHELA_VERSION);
  app.footer(
      "Exit codes: 0 the call was OK, 1 it was not (its status is on stderr), "
      "2 usage.");
  AddCliFlags(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageExit;
  }
  static Interrupts interrupts;
  return Run(app.get_subcommands().front()->get_name(), command, interrupts);
}

}  // namespace
}  // namespace chela

int main(int argc, char** argv) { return chela::Main(argc, argv); }
