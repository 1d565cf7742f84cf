#ifndef CHELA_SERVER_SERVER_FLAGS_H_
#define CHELA_SERVER_SERVER_FLAGS_H_

#include <string>

#include "server/server_config.h"

namespace CLI {
class App;  // CLI/CLI.hpp compiles slowly.
}  // namespace CLI

namespace chela {

// Adds every flag of chela-server to `app`; parsing writes into `config` and,
// for --config, into `file`. Both must outlive the parsing.
void AddServerFlags(CLI::App& app, ServerConfig& config, std::string& file);

// The variable of a flag: "max-waiting" -> "CHELA_MAX_WAITING".
std::string VariableName(const std::string& flag);

}  // namespace chela

#endif  // CHELA_SERVER_SERVER_FLAGS_H_
