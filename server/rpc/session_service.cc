#include "server/rpc/session_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/session_reactors.h"
#include "server/rpc/status.h"

namespace chela {
namespace {

constexpr int32_t kMaxPageSize = 1000;

// What the registry says of a session as the answer of a method.
template <typename Response>
absl::Status Answer(const absl::StatusOr<SessionInfo>& info,
                    Response* response) {
  CHELA_RETURN_IF_ERROR(info.status());
  ToProto(*info, response->mutable_session());
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* SessionService::CreateSession(
    grpc::CallbackServerContext* context,
    const v1::CreateSessionRequest* request,
    v1::CreateSessionResponse* response) {
  return StartCall<SessionReactor>(
      runtime_, "create_session", context, request->settings().id(),
      [request, response](SessionRegistry& sessions) -> absl::Status {
        const auto options = ToOptions(request->settings());
        CHELA_RETURN_IF_ERROR(options.status());
        return Answer(sessions.Create(*options), response);
      });
}

grpc::ServerUnaryReactor* SessionService::ForkSession(
    grpc::CallbackServerContext* context, const v1::ForkSessionRequest* request,
    v1::ForkSessionResponse* response) {
  return StartCall<SessionReactor>(
      runtime_, "fork_session", context, request->session(),
      [request, response](SessionRegistry& sessions) -> absl::Status {
        const auto options = ToOptions(request->settings());
        CHELA_RETURN_IF_ERROR(options.status());
        return Answer(sessions.Fork(request->session(),
                                    ToPoint(request->from()), *options),
                      response);
      });
}

grpc::ServerUnaryReactor* SessionService::RewindSession(
    grpc::CallbackServerContext* context,
    const v1::RewindSessionRequest* request,
    v1::RewindSessionResponse* response) {
  return StartCall<SessionReactor>(
      runtime_, "rewind_session", context, request->session(),
      [request, response](SessionRegistry& sessions) -> absl::Status {
        if (request->to().point_case() == v1::SessionPoint::POINT_NOT_SET) {
          FieldErrors errors;
          errors.Add("to", "absent; want a revision or a checkpoint");
          return errors.ToStatus();
        }
        return Answer(
            sessions.Rewind(request->session(), ToPoint(request->to())),
            response);
      });
}

grpc::ServerUnaryReactor* SessionService::DeleteSession(
    grpc::CallbackServerContext* context,
    const v1::DeleteSessionRequest* request, v1::DeleteSessionResponse*) {
  return StartCall<SessionReactor>(runtime_, "delete_session", context,
                                   request->session(),
                                   [request](SessionRegistry& sessions) {
                                     return sessions.Delete(request->session());
                                   });
}

grpc::ServerUnaryReactor* SessionService::ListSessions(
    grpc::CallbackServerContext* context,
    const v1::ListSessionsRequest* request,
    v1::ListSessionsResponse* response) {
  return StartCall<SessionReactor>(
      runtime_, "list_sessions", context, "",
      [request, response](SessionRegistry& sessions) -> absl::Status {
        if (request->page_size() < 0 || request->page_size() > kMaxPageSize) {
          FieldErrors errors;
          errors.Add("page_size",
                     absl::StrCat(request->page_size(), "; want 1 .. ",
                                  kMaxPageSize, ", or 0 for 100"));
          return errors.ToStatus();
        }
        SessionPage page = sessions.List(request->user(), request->page_size(),
                                         request->page_token());
        for (const SessionInfo& info : page.sessions) {
          ToProto(info, response->add_sessions());
        }
        response->set_next_page_token(std::move(page.next_page_token));
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::ExportSessionResponse>*
SessionService::ExportSession(grpc::CallbackServerContext* context,
                              const v1::ExportSessionRequest* request) {
  return StartCall<ExportReactor>(runtime_, context, request, snapshots_);
}

grpc::ServerReadReactor<v1::ImportSessionRequest>*
SessionService::ImportSession(grpc::CallbackServerContext* context,
                              v1::ImportSessionResponse* response) {
  return StartCall<ImportReactor>(runtime_, context, response, snapshots_);
}

}  // namespace chela
