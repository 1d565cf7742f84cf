#include "server/server.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "kernels/status_macros.h"
#include "server/open_prefix_store.h"
#include "server/open_sessions.h"
#include "server/rpc/log.h"

namespace chela {
namespace {

// For the last messages of calls that the drain has ended.
constexpr std::chrono::seconds kLastWrites{2};
constexpr std::chrono::milliseconds kCancelAgain{20};

EngineLimits Limits(const ServerConfig& config, const LoadedModel& loaded) {
  return {.max_batch_tokens = config.max_batch_tokens,
          .max_waiting = config.max_waiting,
          .max_prompt_tokens = config.max_prompt_tokens,
          .max_output_tokens = config.max_output_tokens,
          .prefix_cache_bytes = loaded.prefix_cache_bytes,
          .prefix_store_bytes = config.prefix_cache_disk_bytes,
          .prefix_pinned_bytes = config.prefix_cache_pinned_bytes < 0
                                     ? loaded.prefix_cache_bytes / 2
                                     : config.prefix_cache_pinned_bytes};
}

Metrics::Memory MemoryOf(const LoadedDevice& device) {
  Metrics::Memory memory;
  memory.weights = device.model->weights().size_bytes();
  memory.activations = device.model->activation_bytes();
  memory.states = device.pool->slot_bytes() * device.pool->num_slots();
  const int64_t taken = device.opened_free_bytes - device.backend->FreeBytes();
  memory.other = std::max<int64_t>(
      taken - memory.weights - memory.activations - memory.states, 0);
  return memory;
}

}  // namespace

Server::Server(const ServerConfig& config, const std::string& model_name,
               std::function<void(const absl::Status&)> on_fault)
    : config_(config),
      model_name_(model_name),
      on_fault_(std::move(on_fault)),
      metrics_(model_name),
      service_(
          {.workers = config.rpc_workers, .log_content = config.log_content},
          metrics_),
      session_service_(service_.runtime()) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(
    const ServerConfig& config, const std::string& model_name,
    std::function<void(const absl::Status&)> on_fault) {
  std::unique_ptr<Server> server(
      new Server(config, model_name, std::move(on_fault)));
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = GrpcServer::Start(
      {.listen = config.listen, .max_message_bytes = config.max_message_bytes},
      server->service_, server->session_service_);
  if (!grpc.ok()) return grpc.status();
  server->grpc_ = *std::move(grpc);
  Server* const raw = server.get();
  absl::StatusOr<std::unique_ptr<HttpListener>> http =
      HttpListener::Start(config.metrics_listen,
                          {.metrics = [raw] { return raw->metrics_.Render(); },
                           .ready = [raw] { return raw->ready(); }});
  if (!http.ok()) return http.status();
  server->http_ = *std::move(http);
  server->metrics_.SetBuildInfo({{"version", CHELA_VERSION}});
  return server;
}

Server::~Server() {
  if (grpc_ == nullptr) return;
  const std::chrono::milliseconds none{0};
  Drain(none, none);
}

absl::Status Server::Load(const std::string& directory) {
  absl::StatusOr<LoadedModel> loaded = LoadModel(config_, directory);
  if (!loaded.ok()) return loaded.status();
  loaded_ = *std::move(loaded);
  Publish();
  CHELA_RETURN_IF_ERROR(OpenStates());
  CHELA_RETURN_IF_ERROR(OpenPrefixStores());
  std::vector<EngineDevice> devices;
  for (size_t i = 0; i < loaded_.devices.size(); ++i) {
    const LoadedDevice& device = loaded_.devices[i];
    devices.push_back(
        {device.backend->Info().name, *device.model, *device.pool,
         prefix_stores_.empty() ? nullptr : prefix_stores_[i].get()});
  }
  engine_ = Engine::Start(Limits(config_, loaded_), devices, *loaded_.tokenizer,
                          metrics_, [this](const absl::Status& fault) {
                            SetReady(false);
                            if (on_fault_) on_fault_(fault);
                          });
  served_.engine = engine_.get();
  service_.Serve(served_);
  SetReady(true);
  return absl::OkStatus();
}

absl::Status Server::OpenPrefixStores() {
  if (config_.prefix_cache_dir.empty()) return absl::OkStatus();
  for (size_t i = 0; i < loaded_.devices.size(); ++i) {
    absl::StatusOr<std::unique_ptr<PrefixStore>> store =
        OpenPrefixStore(config_, loaded_, i);
    if (!store.ok()) return store.status();
    prefix_stores_.push_back(*std::move(store));
  }
  return absl::OkStatus();
}

// Sessions, and the key of states that clients keep.
absl::Status Server::OpenStates() {
  if (!config_.state_key_file.empty()) {
    absl::StatusOr<StateSigner> signer =
        StateSigner::Load(config_.state_key_file);
    if (!signer.ok()) return signer.status();
    signer_ = *std::move(signer);
    served_.signer = &*signer_;
  }
  const Weights& weights = loaded_.devices.front().model->weights();
  served_.snapshot = MakeSnapshotModel(weights.config(), weights.fingerprint());
  served_.max_message_bytes = config_.max_message_bytes;
  absl::StatusOr<std::unique_ptr<SessionRegistry>> sessions =
      OpenSessions(config_, served_.snapshot, metrics_);
  if (!sessions.ok()) return sessions.status();
  sessions_ = *std::move(sessions);
  served_.sessions = sessions_.get();
  return absl::OkStatus();
}

// What GetModelInfo, requests' checks and the info metrics say.
void Server::Publish() {
  const BackendInfo device = loaded_.devices.front().backend->Info();
  const Weights& weights = loaded_.devices.front().model->weights();
  const StatePool& pool = *loaded_.devices.front().pool;
  const auto devices = static_cast<int32_t>(loaded_.devices.size());
  std::vector<std::string> names;
  for (const LoadedDevice& one : loaded_.devices) {
    names.push_back(one.backend->Info().name);
    if (device.name != "cpu") {
      metrics_.SetDeviceMemory(names.back(), MemoryOf(one));
    }
  }
  served_.convert = {.tokenizer = loaded_.tokenizer.get(),
                     .defaults = loaded_.defaults,
                     .max_prompt_tokens = config_.max_prompt_tokens,
                     .max_output_tokens = config_.max_output_tokens,
                     .state_slots = pool.num_slots()};
  v1::GetModelInfoResponse& info = served_.info;
  info.set_model(model_name_);
  info.set_parameters(weights.config().parameters());
  info.set_config_json(weights.config().ToJson());
  info.set_tokenizer(loaded_.tokenizer->kind());
  info.set_device(DescribeDevices(loaded_.devices));
  info.set_state_bytes_per_sequence(pool.slot_bytes());
  info.set_state_slots(pool.num_slots() * devices);
  info.set_fingerprint(weights.fingerprint());
  info.set_server_version(CHELA_VERSION);
  info.set_max_prompt_tokens(config_.max_prompt_tokens);
  info.set_max_output_tokens(config_.max_output_tokens);
  info.set_chunk_tokens(static_cast<int32_t>(kChunkTokens));
  metrics_.SetModelInfo({{"fingerprint", weights.fingerprint()},
                         {"tokenizer", loaded_.tokenizer->kind()},
                         {"device", absl::StrJoin(names, ",")},
                         {"kernels", device.kernels}});
}

void Server::SetReady(bool ready) {
  ready_ = ready;
  grpc_->SetReady(ready);
}

void Server::Drain(std::chrono::milliseconds grace,
                   std::chrono::milliseconds timeout) {
  if (std::exchange(drained_, true)) return;
  const Clock::time_point start = Clock::now();
  SetReady(false);
  std::this_thread::sleep_for(grace);
  if (engine_ != nullptr) engine_->Drain();

  std::atomic<bool> down{false};
  std::thread shutdown([this, &down] {
    grpc_->Shutdown();
    down = true;
  });
  if (!service_.WaitNoCalls(start + std::max(grace, timeout))) {
    Log(spdlog::level::warn, "drain timeout, ending the calls that still run");
    if (engine_ != nullptr) engine_->Stop();
    service_.WaitNoCalls(Clock::now() + kLastWrites);
  }
  // What is left are health watches, and calls whose client takes nothing.
  // Again and again, since the shutdown may not have begun.
  while (!down) {
    grpc_->CancelCalls();
    std::this_thread::sleep_for(kCancelAgain);
  }
  shutdown.join();
  // Joins its thread, so that no callback of its streams is still to come.
  if (engine_ != nullptr) engine_->Stop();
}

}  // namespace chela
