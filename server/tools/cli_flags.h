#ifndef CHELA_SERVER_TOOLS_CLI_FLAGS_H_
#define CHELA_SERVER_TOOLS_CLI_FLAGS_H_

#include <string>

#include "chela/v1/generation.pb.h"
#include "server/tools/client.h"
#include "server/tools/generate_flags.h"
#include "server/tools/session_flags.h"

namespace CLI {
class App;  // CLI/CLI.hpp compiles slowly.
}  // namespace CLI

namespace chela {

// What a command line of chela-cli asks for.
struct CliCommand {
  ClientOptions options;
  GenerateCommand generate;
  SessionCommand session;
  std::string text_file;
  v1::TokenizeRequest tokenize;
  bool tokenize_text_given = false;
  std::string service = "chela.v1.GenerationService";
};

// Adds the global options and the subcommands. Parsing fills `command`, which
// must outlive it; the subcommand's name is that of app.get_subcommands()[0].
void AddCliFlags(CLI::App& app, CliCommand& command);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_CLI_FLAGS_H_
