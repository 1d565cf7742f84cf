#ifndef CHELA_SERVER_RPC_CONVERT_SESSION_H_
#define CHELA_SERVER_RPC_CONVERT_SESSION_H_

#include <string>

#include "chela/v1/generation.pb.h"
#include "chela/v1/session.pb.h"
#include "server/rpc/status.h"
#include "server/session/session_registry.h"

namespace chela {

// What messages say of sessions, as the registry takes it. Whatever is wrong is
// added to `errors`, with its path.

// The name of a session or checkpoint.
void CheckNameField(const std::string& path, const std::string& name,
                    FieldErrors& errors);
// Of the field `settings`.
SessionOptions ToOptions(const v1::SessionSettings& settings,
                         FieldErrors& errors);
// Of the field `path`.
SessionPoint ToPoint(const std::string& path, const v1::SessionPoint& point,
                     FieldErrors& errors);
// What a request says of the text before and after it.
void CheckTurn(const v1::GenerateRequest& request, FieldErrors& errors);

void ToProto(const SessionInfo& info, v1::Session* out);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_CONVERT_SESSION_H_
