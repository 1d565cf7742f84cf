#include "server/rpc/session_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/convert_session.h"
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
        FieldErrors errors;
        const SessionOptions options = ToOptions(request->settings(), errors);
        CHELA_RETURN_IF_ERROR(errors.ToStatus());
        return Answer(sessions.Create(options), response);
      });
}

grpc::ServerUnaryReactor* SessionService::ForkSession(
    grpc::CallbackServerContext* context, const v1::ForkSessionRequest* request,
    v1::ForkSessionResponse* response) {
  return StartCall<SessionReactor>(
      runtime_, "fork_session", context, request->session(),
      [request, response](SessionRegistry& sessions) -> absl::Status {
        FieldErrors errors;
        CheckNameField("session", request->session(), errors);
        const SessionPoint from = ToPoint("from", request->from(), errors);
        const SessionOptions options = ToOptions(request->settings(), errors);
        CHELA_RETURN_IF_ERROR(errors.ToStatus());
        return Answer(sessions.Fork(request->session(), from, options),
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
        FieldErrors errors;
        CheckNameField("session", request->session(), errors);
        const SessionPoint to = ToPoint("to", request->to(), errors);
        if (request->to().point_case() == v1::SessionPoint::POINT_NOT_SET) {
          errors.Add("to", "absent; want a revision or a checkpoint");
        }
        CHELA_RETURN_IF_ERROR(errors.ToStatus());
        return Answer(sessions.Rewind(request->session(), to), response);
      });
}

grpc::ServerUnaryReactor* SessionService::DeleteSession(
    grpc::CallbackServerContext* context,
    const v1::DeleteSessionRequest* request, v1::DeleteSessionResponse*) {
  return StartCall<SessionReactor>(
      runtime_, "delete_session", context, request->session(),
      [request](SessionRegistry& sessions) {
        FieldErrors errors;
        CheckNameField("session", request->session(), errors);
        CHELA_RETURN_IF_ERROR(errors.ToStatus());
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
        FieldErrors errors;
        if (request->page_size() < 0 || request->page_size() > kMaxPageSize) {
          errors.Add("page_size",
                     absl::StrCat(request->page_size(), "; want 1 .. ",
                                  kMaxPageSize, ", or 0 for 100"));
        }
        CHELA_RETURN_IF_ERROR(errors.ToStatus());
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

grpc::ServerReadReactor<grpc::ByteBuffer>* SessionService::ImportSession(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return StartCall<ImportReactor>(runtime_, context, response, snapshots_);
}

}  // namespace chela
