#ifndef CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_
#define CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_

#include <string>

#include "chela/v1/generation.pb.h"

namespace CLI {
class App;  // CLI/CLI.hpp compiles slowly.
}  // namespace CLI

namespace chela {

struct GenerateCommand {
  v1::GenerateRequest request;
  std::string state_file;         // GenerateRequest.state; empty: none
  std::string return_state_file;  // where to put the one that comes back
};

// Adds the subcommand `generate`: the prompt, and each field of a request as a
// flag in kebab case. A flag that is not given leaves its field absent. Parsing
// fills `command`, which must outlive it.
void AddGenerateFlags(CLI::App& app, GenerateCommand& command);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_
