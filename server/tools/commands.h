#ifndef CHELA_SERVER_TOOLS_COMMANDS_H_
#define CHELA_SERVER_TOOLS_COMMANDS_H_

#include <optional>
#include <string>

#include "chela/v1/generation.pb.h"
#include "server/tools/client.h"
#include "server/tools/generate_flags.h"
#include "server/tools/session_flags.h"

namespace chela {

// The subcommands of chela-cli. Each makes its calls, prints, and returns the
// exit code: 0 if they were OK, else 1.

// Streams the text to stdout as it comes; statistics go to stderr.
// `command` has everything but what is read from files and standard input.
int RunGenerate(const ClientOptions& options, GenerateCommand command,
                Interrupts& interrupts);

// Scores a text, document by document; "" is standard input.
int RunScore(const ClientOptions& options, const std::string& text_file,
             Interrupts& interrupts);

// `session create` and its like; create, fork and import print the id.
int RunSession(const ClientOptions& options, const SessionCommand& command,
               Interrupts& interrupts);

int RunTokenize(const ClientOptions& options,
                const v1::TokenizeRequest& request, Interrupts& interrupts);
int RunInfo(const ClientOptions& options, Interrupts& interrupts);
// 0 if `service` is SERVING.
int RunHealth(const ClientOptions& options, const std::string& service,
              Interrupts& interrupts);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_COMMANDS_H_
