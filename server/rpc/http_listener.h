#ifndef CHELA_SERVER_RPC_HTTP_LISTENER_H_
#define CHELA_SERVER_RPC_HTTP_LISTENER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/address.h"

struct mg_connection;
struct mg_context;

namespace chela {

// What the pages show. Called from the listener's threads.
struct HttpPages {
  std::function<std::string()> metrics;  // Prometheus text
  std::function<bool()> ready;
};

// The HTTP port for operators: /metrics, /healthz (200 while the process
// lives), /readyz (200 or 503). GET and HEAD only; other paths are 404. A
// client that stalls is dropped after 5 s; 16 may do so at once before others
// wait.
class HttpListener {
 public:
  // UNAVAILABLE with the reason if the port cannot be had.
  static absl::StatusOr<std::unique_ptr<HttpListener>> Start(
      const Address& listen, HttpPages pages);
  ~HttpListener();  // Waits for the requests that run.
  HttpListener(const HttpListener&) = delete;

  const Address& address() const { return address_; }  // the real port

 private:
  explicit HttpListener(HttpPages pages);
  static int OnRequest(mg_connection* connection);
  int Answer(mg_connection* connection) const;

  const HttpPages pages_;
  Address address_;
  mg_context* context_ = nullptr;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_HTTP_LISTENER_H_
