#include "tests/integration/session_client.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace chela {
namespace {

void ExpectOk(const grpc::Status& status) {
  EXPECT_TRUE(status.ok()) << status.error_code() << " "
                           << status.error_message();
}

}  // namespace

SessionClient::SessionClient(ServerRig& rig)
    : rig_(rig), stub_(v1::SessionService::NewStub(rig.channel())) {}

v1::Session SessionClient::Create(const std::string& id) {
  grpc::ClientContext context;
  v1::CreateSessionRequest request;
  request.mutable_settings()->set_id(id);
  v1::CreateSessionResponse response;
  ExpectOk(stub_->CreateSession(&context, request, &response));
  return response.session();
}

v1::Session SessionClient::Fork(const std::string& id, const std::string& to) {
  grpc::ClientContext context;
  v1::ForkSessionRequest request;
  request.set_session(id);
  request.mutable_settings()->set_id(to);
  v1::ForkSessionResponse response;
  ExpectOk(stub_->ForkSession(&context, request, &response));
  return response.session();
}

v1::Session SessionClient::Rewind(const std::string& id,
                                  const v1::SessionPoint& point) {
  grpc::ClientContext context;
  v1::RewindSessionRequest request;
  request.set_session(id);
  *request.mutable_to() = point;
  v1::RewindSessionResponse response;
  ExpectOk(stub_->RewindSession(&context, request, &response));
  return response.session();
}

grpc::Status SessionClient::Delete(const std::string& id) {
  grpc::ClientContext context;
  v1::DeleteSessionRequest request;
  request.set_session(id);
  v1::DeleteSessionResponse response;
  return stub_->DeleteSession(&context, request, &response);
}

v1::ListSessionsResponse SessionClient::List() {
  grpc::ClientContext context;
  v1::ListSessionsResponse response;
  ExpectOk(stub_->ListSessions(&context, {}, &response));
  return response;
}

std::string SessionClient::Export(const std::string& id) {
  grpc::ClientContext context;
  v1::ExportSessionRequest request;
  request.set_session(id);
  const auto reader = stub_->ExportSession(&context, request);
  std::string bytes;
  v1::ExportSessionResponse message;
  while (reader->Read(&message)) bytes += message.chunk();
  ExpectOk(reader->Finish());
  return bytes;
}

grpc::Status SessionClient::Send(const std::string& id,
                                 const std::string& bytes, size_t piece,
                                 v1::ImportSessionResponse* response) {
  grpc::ClientContext context;
  const auto writer = stub_->ImportSession(&context, response);
  v1::ImportSessionRequest message;
  message.mutable_settings()->set_id(id);
  for (size_t at = 0; at == 0 || at < bytes.size(); at += piece) {
    message.set_chunk(bytes.substr(at, piece));
    if (!writer->Write(message)) break;
    message.clear_settings();
  }
  writer->WritesDone();
  return writer->Finish();
}

v1::Session SessionClient::Import(const std::string& id,
                                  const std::string& bytes, size_t piece) {
  v1::ImportSessionResponse response;
  ExpectOk(Send(id, bytes, piece, &response));
  return response.session();
}

grpc::Status SessionClient::ImportStatus(const std::string& id,
                                         const std::string& bytes,
                                         size_t piece) {
  v1::ImportSessionResponse response;
  return Send(id, bytes, piece, &response);
}

v1::GenerateResponse SessionClient::Generate(
    const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  ExpectOk(rig_.stub().Generate(&context, request, &response));
  return response;
}

grpc::Status SessionClient::Status(const v1::GenerateRequest& request,
                                   std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::GenerateResponse response;
  return rig_.stub().Generate(&context, request, &response);
}

std::vector<int32_t> Tokens(const v1::GenerateResponse& response) {
  const auto& ids = response.tokens().ids();
  return {ids.begin(), ids.end()};
}

std::vector<int32_t> Joined(std::vector<int32_t> a,
                            const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

v1::GenerateRequest In(const std::string& session, const std::string& prompt,
                       int32_t max_tokens, uint64_t seed) {
  v1::GenerateRequest request;
  request.set_session(session);
  if (!prompt.empty()) request.set_prompt(prompt);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  request.mutable_sampling()->set_ignore_eos(true);
  request.mutable_sampling()->set_seed(seed);
  return request;
}

v1::GenerateRequest Alone(const std::string& prompt, int32_t max_tokens) {
  v1::GenerateRequest request = In("", prompt, max_tokens);
  request.clear_session();
  return request;
}

}  // namespace chela
