#include <ctime>
#include <functional>
#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "chela/v1/session.grpc.pb.h"
#include "server/tools/commands.h"
#include "server/tools/state_file.h"

namespace chela {
namespace {

using nlohmann::ordered_json;
using Stub = v1::SessionService::Stub;

constexpr size_t kChunkBytes = size_t{1} << 20;

// "2026-01-31T12:00:00Z"; "" for none.
std::string Time(bool present, const google::protobuf::Timestamp& time) {
  if (!present) return "";
  const auto seconds = static_cast<std::time_t>(time.seconds());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text,
          std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

ordered_json ToJson(const v1::Session& session) {
  ordered_json revisions = ordered_json::array();
  for (const int64_t one : session.revisions()) revisions.push_back(one);
  ordered_json checkpoints = ordered_json::array();
  for (const std::string& one : session.checkpoints()) {
    checkpoints.push_back(one);
  }
  return {
      {"id", session.id()},
      {"user", session.user()},
      {"tokens", session.tokens()},
      {"revision", session.revision()},
      {"revisions", revisions},
      {"checkpoints", checkpoints},
      {"state_bytes", session.state_bytes()},
      {"in_memory", session.in_memory()},
      {"create_time", Time(session.has_create_time(), session.create_time())},
      {"use_time", Time(session.has_use_time(), session.use_time())},
      {"expire_time", Time(session.has_expire_time(), session.expire_time())}};
}

// One call: what went wrong is reported.
class SessionCall {
 public:
  SessionCall(const ClientOptions& options, Interrupts& interrupts)
      : options_(options),
        stub_(v1::SessionService::NewStub(Connect(options))),
        scope_(interrupts, context_) {
    Prepare(options, context_);
  }
  Stub& stub() { return *stub_; }
  grpc::ClientContext* context() { return &context_; }

  // The new session: its id, or the whole with --json.
  int PrintNew(const grpc::Status& status, const v1::Session& session) const {
    if (!status.ok()) return Report(status);
    if (options_.json) return PrintJson(ToJson(session)) ? 0 : 1;
    return Print(session.id() + "\n") ? 0 : 1;
  }
  const ClientOptions& options() const { return options_; }

 private:
  const ClientOptions& options_;
  const std::unique_ptr<Stub> stub_;
  grpc::ClientContext context_;
  const Interrupts::Scope scope_;
};

int Create(SessionCall& call, const SessionCommand& command) {
  v1::CreateSessionRequest request;
  *request.mutable_settings() = command.settings;
  v1::CreateSessionResponse response;
  const grpc::Status status =
      call.stub().CreateSession(call.context(), request, &response);
  return call.PrintNew(status, response.session());
}

int Fork(SessionCall& call, const SessionCommand& command) {
  v1::ForkSessionRequest request;
  request.set_session(command.session);
  *request.mutable_from() = command.point;
  *request.mutable_settings() = command.settings;
  v1::ForkSessionResponse response;
  const grpc::Status status =
      call.stub().ForkSession(call.context(), request, &response);
  return call.PrintNew(status, response.session());
}

int Rewind(SessionCall& call, const SessionCommand& command) {
  v1::RewindSessionRequest request;
  request.set_session(command.session);
  *request.mutable_to() = command.point;
  v1::RewindSessionResponse response;
  const grpc::Status status =
      call.stub().RewindSession(call.context(), request, &response);
  if (!status.ok()) return Report(status);
  const v1::Session& session = response.session();
  if (call.options().json) return PrintJson(ToJson(session)) ? 0 : 1;
  std::cerr << "session " << session.id() << ": revision " << session.revision()
            << ", " << session.tokens() << " tokens\n";
  return 0;
}

int Delete(SessionCall& call, const SessionCommand& command) {
  v1::DeleteSessionRequest request;
  request.set_session(command.session);
  v1::DeleteSessionResponse response;
  const grpc::Status status =
      call.stub().DeleteSession(call.context(), request, &response);
  if (!status.ok()) return Report(status);
  return !call.options().json || PrintJson(ordered_json::object()) ? 0 : 1;
}

int List(const ClientOptions& options, const SessionCommand& command,
         Interrupts& interrupts) {
  v1::ListSessionsRequest request;
  if (command.settings.has_user()) request.set_user(command.settings.user());
  ordered_json sessions = ordered_json::array();
  std::string lines;
  do {
    SessionCall call(options, interrupts);
    v1::ListSessionsResponse response;
    const grpc::Status status =
        call.stub().ListSessions(call.context(), request, &response);
    if (!status.ok()) return Report(status);
    for (const v1::Session& one : response.sessions()) {
      sessions.push_back(ToJson(one));
      absl::StrAppend(&lines, one.id(), "\t", one.tokens(),
                      " tokens\trevision ", one.revision(), "\t",
                      absl::StrJoin(one.checkpoints(), ","), "\n");
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (options.json) return PrintJson({{"sessions", sessions}}) ? 0 : 1;
  return Print(lines) ? 0 : 1;
}

int Export(SessionCall& call, const SessionCommand& command) {
  v1::ExportSessionRequest request;
  request.set_session(command.session);
  *request.mutable_at() = command.point;
  const auto reader = call.stub().ExportSession(call.context(), request);
  std::string bytes;
  v1::ExportSessionResponse message;
  while (reader->Read(&message)) bytes += message.chunk();
  if (const grpc::Status status = reader->Finish(); !status.ok()) {
    return Report(status);
  }
  if (!WriteFile(command.file, bytes)) return 1;
  if (call.options().json) {
    return PrintJson({{"file", command.file}, {"bytes", bytes.size()}}) ? 0 : 1;
  }
  std::cerr << bytes.size() << " bytes in " << command.file << "\n";
  return 0;
}

int Import(SessionCall& call, const SessionCommand& command) {
  std::string bytes;
  if (!ReadFile(command.file, &bytes)) return 1;
  v1::ImportSessionResponse response;
  const auto writer = call.stub().ImportSession(call.context(), &response);
  v1::ImportSessionRequest message;
  *message.mutable_settings() = command.settings;
  for (size_t at = 0; at == 0 || at < bytes.size(); at += kChunkBytes) {
    message.set_chunk(bytes.substr(at, kChunkBytes));
    if (!writer->Write(message)) break;  // Finish says why.
    message.clear_settings();
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  return call.PrintNew(status, response.session());
}

}  // namespace

int RunSession(const ClientOptions& options, const SessionCommand& command,
               Interrupts& interrupts) {
  for (const auto& [field, text] :
       {std::pair("session", command.session),
        std::pair("id", command.settings.id()),
        std::pair("user", command.settings.user()),
        std::pair("checkpoint", command.point.checkpoint())}) {
    if (!CheckUtf8(field, text)) return 1;
  }
  if (command.verb == "list") return List(options, command, interrupts);
  SessionCall call(options, interrupts);
  if (command.verb == "create") return Create(call, command);
  if (command.verb == "fork") return Fork(call, command);
  if (command.verb == "rewind") return Rewind(call, command);
  if (command.verb == "delete") return Delete(call, command);
  if (command.verb == "export") return Export(call, command);
  return Import(call, command);
}

}  // namespace chela
