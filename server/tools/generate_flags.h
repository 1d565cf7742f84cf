#ifndef CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_
#define CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_

#include <CLI/CLI.hpp>

#include "chela/v1/generation.pb.h"

namespace chela {

// Adds the subcommand `generate`: the prompt, and each field of a request as a
// flag in kebab case. A flag that is not given leaves its field absent. Parsing
// fills `request`, which must outlive it.
void AddGenerateFlags(CLI::App& app, v1::GenerateRequest& request);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_GENERATE_FLAGS_H_
