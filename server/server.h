#ifndef CHELA_SERVER_SERVER_H_
#define CHELA_SERVER_SERVER_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/engine/prefix_store.h"
#include "server/loaded_model.h"
#include "server/metrics/metrics.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/http_listener.h"
#include "server/rpc/session_service.h"
#include "server/rpc/signed_state.h"
#include "server/server_config.h"
#include "server/session/session_registry.h"

namespace chela {

// The whole server in one object: both ports, one model, its devices, one
// engine.
// Listen, Load, serve, Drain; all by one thread.
class Server {
 public:
  // Opens both ports; health and /readyz say "not ready". on_fault is called
  // once, from a thread of the engine, if a device fails; by then the server
  // has stopped being ready and closes all streams (Engine::Start).
  // UNAVAILABLE if a port cannot be had.
  static absl::StatusOr<std::unique_ptr<Server>> Listen(
      const ServerConfig& config, const std::string& model_name,
      std::function<void(const absl::Status&)> on_fault);
  ~Server();
  Server(const Server&) = delete;

  // Loads and warms up the model, starts the engine, and becomes ready.
  absl::Status Load(const std::string& directory);

  const Address& grpc_address() const { return grpc_->address(); }
  const Address& metrics_address() const { return http_->address(); }
  bool ready() const { return ready_; }
  Engine* engine() { return engine_.get(); }

  // Not ready from now on; new calls are taken for `grace`, then refused with
  // UNAVAILABLE; calls that run may end until `timeout` from now, then they
  // end with UNAVAILABLE. Returns as soon as the grace is over and no call is
  // left.
  void Drain(std::chrono::milliseconds grace,
             std::chrono::milliseconds timeout);

 private:
  Server(const ServerConfig& config, const std::string& model_name,
         std::function<void(const absl::Status&)> on_fault);
  void SetReady(bool ready);
  void Publish();
  absl::Status OpenStates();
  absl::Status OpenPrefixStores();

  const ServerConfig config_;
  const std::string model_name_;
  const std::function<void(const absl::Status&)> on_fault_;
  std::atomic<bool> ready_{false};
  bool drained_ = false;

  // In the order of need: what stands lower uses what stands above.
  Metrics metrics_;
  LoadedModel loaded_;
  std::vector<std::unique_ptr<PrefixStore>> prefix_stores_;  // a device each
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SessionRegistry> sessions_;
  std::optional<StateSigner> signer_;
  ServedModel served_;
  GenerationService service_;
  SessionService session_service_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HttpListener> http_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SERVER_H_
