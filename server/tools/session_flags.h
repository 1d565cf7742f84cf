#ifndef CHELA_SERVER_TOOLS_SESSION_FLAGS_H_
#define CHELA_SERVER_TOOLS_SESSION_FLAGS_H_

#include <string>

#include "chela/v1/session.pb.h"

namespace CLI {
class App;  // CLI/CLI.hpp compiles slowly.
}  // namespace CLI

namespace chela {

// What `session ...` asks for. Which fields count depends on the verb.
struct SessionCommand {
  std::string verb;  // "create", "fork", ...
  std::string session;
  std::string file;
  v1::SessionSettings settings;
  v1::SessionPoint point;
};

// Adds the subcommand `session` with its verbs. Parsing fills `command`, which
// must outlive it.
void AddSessionFlags(CLI::App& app, SessionCommand& command);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_SESSION_FLAGS_H_
