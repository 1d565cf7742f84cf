#include "server/rpc/http_listener.h"

#include <civetweb.h>

#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

struct Reply {
  int status = 200;
  std::string reason = "OK";
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::string headers = {};
};

int Send(mg_connection* connection, const Reply& reply, bool with_body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", reply.status, " ", reply.reason,
                   "\r\nContent-Type: ", reply.type,
                   "\r\nContent-Length: ", reply.body.size(),
                   "\r\nCache-Control: no-store\r\nConnection: close\r\n",
                   reply.headers, "\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, reply.body.data(), reply.body.size());
  return reply.status;
}

}  // namespace

HttpListener::HttpListener(HttpPages pages) : pages_(std::move(pages)) {}

absl::StatusOr<std::unique_ptr<HttpListener>> HttpListener::Start(
    const Address& listen, HttpPages pages) {
  std::unique_ptr<HttpListener> listener(new HttpListener(std::move(pages)));
  // civetweb takes addresses only.
  Address at = listen;
  if (at.host == "localhost") at.host = "127.0.0.1";
  const std::string ports = at.ToString();
  const char* options[] = {"listening_ports",
                           ports.c_str(),
                           "num_threads",
                           "16",
                           "request_timeout_ms",
                           "5000",
                           "enable_keep_alive",
                           "no",
                           nullptr};
  mg_callbacks callbacks = {};
  callbacks.begin_request = &HttpListener::OnRequest;
  // Its own messages repeat what the error text below says.
  callbacks.log_message = [](const mg_connection*, const char*) { return 1; };
  mg_init_data init = {&callbacks, listener.get(), options};
  char text[256] = "";
  unsigned code = 0;
  mg_error_data error = {&code, text, sizeof(text)};
  mg_init_library(0);
  listener->context_ = mg_start2(&init, &error);
  if (listener->context_ == nullptr) {
    const absl::Status reason = WhyNotListen(at);
    return absl::UnavailableError(
        absl::StrCat("cannot listen at ", listen.ToString(), " (metrics): ",
                     reason.ok() ? absl::string_view(text) : reason.message()));
  }
  mg_server_port port = {};
  mg_get_server_ports(listener->context_, 1, &port);
  listener->address_ = {listen.host, static_cast<uint16_t>(port.port)};
  return listener;
}

HttpListener::~HttpListener() {
  if (context_ != nullptr) {
    // civetweb looks whether it should stop every 2 s or after a connection.
    std::atomic<bool> stopped{false};
    std::thread stop([this, &stopped] {
      mg_stop(context_);
      stopped = true;
    });
    while (!stopped) {
      Knock(address_);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    stop.join();
  }
  mg_exit_library();
}

int HttpListener::OnRequest(mg_connection* connection) {
  const auto* listener = static_cast<const HttpListener*>(
      mg_get_user_data(mg_get_context(connection)));
  return listener->Answer(connection);
}

int HttpListener::Answer(mg_connection* connection) const {
  const mg_request_info* request = mg_get_request_info(connection);
  const std::string_view method = request->request_method;
  const std::string_view path =
      request->local_uri == nullptr ? "" : request->local_uri;
  Reply reply;
  if (method != "GET" && method != "HEAD") {
    reply = {.status = 405,
             .reason = "Method Not Allowed",
             .body = "GET and HEAD only\n",
             .headers = "Allow: GET, HEAD\r\n"};
  } else if (path == "/metrics") {
    reply.type = "text/plain; version=0.0.4; charset=utf-8";
    reply.body = pages_.metrics();
  } else if (path == "/healthz") {
    reply.body = "ok\n";
  } else if (path == "/readyz") {
    const bool ready = pages_.ready();
    reply = {.status = ready ? 200 : 503,
             .reason = ready ? "OK" : "Service Unavailable",
             .body = ready ? "ready\n" : "not ready\n"};
  } else {
    reply = {.status = 404,
             .reason = "Not Found",
             .body = "not found: try /metrics, /healthz, /readyz\n"};
  }
  return Send(connection, reply, method != "HEAD");
}

}  // namespace chela
