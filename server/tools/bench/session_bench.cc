#include "server/tools/bench/session_bench.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/chela_model.h"
#include "models/named_sizes.h"
#include "server/session/folder_store.h"
#include "server/session/redis_store.h"
#include "server/session/session_registry.h"
#include "server/session/snapshot.h"
#include "server/session/state_cache.h"
#include "server/tools/bench/clock.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

using nlohmann::json;

// A state that was computed, and the model it belongs to.
struct Subject {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ChelaModel> model;
  std::unique_ptr<StatePool> pool;
  StatePool::Slot slot;   // holds the state
  StatePool::Slot other;  // to copy to
  SnapshotModel snapshot_model;
  SequenceStatePtr state;
};

absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(
    const SessionBenchOptions& options, Backend& backend) {
  if (!options.model_dir.empty()) {
    return Weights::Load(backend, options.model_dir);
  }
  const absl::StatusOr<ModelConfig> config =
      NamedSize(options.size, options.long_conv);
  if (!config.ok()) return config.status();
  return Weights::Random(backend, *config, 0);
}

// Reads random tokens into a slot of `pool`.
absl::Status ReadTokens(int64_t tokens, ChelaModel& model, StatePool& pool,
                        const StatePool::Slot& slot, SequenceState& state) {
  std::mt19937 random(1);
  state.logits.resize(static_cast<size_t>(model.config().vocab_size));
  while (state.position < tokens) {
    const auto rows =
        static_cast<int32_t>(std::min(kChunkTokens, tokens - state.position));
    StepPlan plan;
    plan.segments = {{.slot = slot.id(),
                      .first_row = 0,
                      .rows = rows,
                      .position = state.position}};
    for (int32_t row = 0; row < rows; ++row) {
      plan.tokens.push_back(static_cast<int32_t>(
          random() % static_cast<uint32_t>(model.config().vocab_size)));
    }
    plan.logits_rows = {rows - 1};
    CHELA_RETURN_IF_ERROR(model.Forward(plan, pool, state.logits));
    state.position += rows;
  }
  return absl::OkStatus();
}

absl::StatusOr<Subject> MakeSubject(const SessionBenchOptions& options) {
  Subject subject;
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();
  subject.backend = *std::move(backend);
  absl::StatusOr<std::unique_ptr<Weights>> weights =
      LoadWeights(options, *subject.backend);
  if (!weights.ok()) return weights.status();
  const std::string fingerprint = (*weights)->fingerprint();
  absl::StatusOr<std::unique_ptr<ChelaModel>> model =
      ChelaModel::Create(*subject.backend, *std::move(weights),
                         static_cast<int32_t>(kChunkTokens));
  if (!model.ok()) return model.status();
  subject.model = *std::move(model);
  subject.snapshot_model =
      MakeSnapshotModel(subject.model->config(), fingerprint);
  absl::StatusOr<std::unique_ptr<StatePool>> pool =
      StatePool::Create(*subject.backend, subject.model->config(), 2);
  if (!pool.ok()) return pool.status();
  subject.pool = *std::move(pool);
  for (StatePool::Slot* const claim : {&subject.slot, &subject.other}) {
    absl::StatusOr<StatePool::Slot> slot = subject.pool->Acquire();
    if (!slot.ok()) return slot.status();
    *claim = *std::move(slot);
  }
  auto state = std::make_shared<SequenceState>();
  CHELA_RETURN_IF_ERROR(ReadTokens(options.position, *subject.model,
                                   *subject.pool, subject.slot, *state));
  state->pending = 0;
  state->state.resize(static_cast<size_t>(subject.pool->slot_bytes()));
  CHELA_RETURN_IF_ERROR(subject.pool->Save(subject.slot, state->state));
  subject.state = std::move(state);
  return subject;
}

// A line of the table, and a row of the object, for a time in seconds.
class Times {
 public:
  Times(const Output& output, int32_t runs) : output_(output), runs_(runs) {}

  // One untimed run first; `tidy` is not timed.
  absl::Status Measure(const std::string& name,
                       absl::FunctionRef<absl::Status()> work,
                       absl::FunctionRef<absl::Status()> tidy) {
    std::vector<double> seconds;
    for (int32_t run = -1; run < runs_; ++run) {
      const Clock::time_point begin = Clock::now();
      CHELA_RETURN_IF_ERROR(work());
      const std::chrono::duration<double> elapsed = Clock::now() - begin;
      CHELA_RETURN_IF_ERROR(tidy());
      if (run >= 0) seconds.push_back(elapsed.count());
    }
    const Spread spread = Summarize(seconds);
    output_.Line(absl::StrFormat("%-42s %9.4f %9.4f %9.4f", name,
                                 1e3 * spread.median, 1e3 * spread.min,
                                 1e3 * spread.max));
    rows_.push_back({{"name", name},
                     {"seconds_median", spread.median},
                     {"seconds_min", spread.min},
                     {"seconds_max", spread.max}});
    return absl::OkStatus();
  }
  const json& rows() const { return rows_; }

 private:
  const Output& output_;
  const int32_t runs_;
  json rows_ = json::array();
};

absl::Status Nothing() { return absl::OkStatus(); }

// What the engine does with a slot: at a turn's end and begin, and for a copy.
absl::Status MeasureSlot(const Subject& subject, Times& times) {
  StatePool& pool = *subject.pool;
  std::vector<std::byte> host(subject.state->state.size());
  CHELA_RETURN_IF_ERROR(times.Measure(
      "slot to host", [&] { return pool.Save(subject.slot, host); }, Nothing));
  CHELA_RETURN_IF_ERROR(times.Measure(
      "host to slot",
      [&] { return pool.Restore(subject.state->state, subject.other); },
      Nothing));
  // A device may copy later: reading a float back waits for it.
  float first = 0;
  return times.Measure(
      "slot to slot",
      [&] {
        CHELA_RETURN_IF_ERROR(pool.Copy(subject.slot, subject.other));
        return subject.backend->Download(pool.data(), &first, sizeof(first));
      },
      Nothing);
}

absl::Status MeasureSnapshot(const Subject& subject, const std::string& bytes,
                             Times& times) {
  CHELA_RETURN_IF_ERROR(times.Measure(
      "encode",
      [&] {
        return EncodeSnapshot(*subject.state, subject.snapshot_model).status();
      },
      Nothing));
  return times.Measure(
      "decode",
      [&] { return DecodeSnapshot(bytes, subject.snapshot_model).status(); },
      Nothing);
}

// cached: whether states stay in memory.
absl::Status MeasureRegistry(const std::string& name, const Subject& subject,
                             std::unique_ptr<SnapshotStore> store, bool cached,
                             Times& times) {
  Metrics metrics("bench");
  RegistryOptions options;
  options.model = subject.snapshot_model;
  // Two revisions, a fork and a turn that runs.
  options.memory_bytes =
      cached ? std::max(options.memory_bytes, 6 * MaxHostBytes(options.model))
             : 1;
  const auto registry =
      SessionRegistry::Open(options, std::move(store), metrics);
  if (!registry.ok()) return registry.status();
  SessionRegistry& sessions = **registry;
  const SessionOptions base = {.id = "chela-bench", .user = "", .ttl = {}};
  const SessionOptions other = {
      .id = "chela-bench-fork", .user = "", .ttl = {}};
  CHELA_RETURN_IF_ERROR(sessions.Import(subject.state, base).status());
  CHELA_RETURN_IF_ERROR(times.Measure(
      name + ": begin a turn",
      [&] { return sessions.BeginTurn(base.id, std::nullopt).status(); },
      Nothing));
  CHELA_RETURN_IF_ERROR(times.Measure(
      name + ": fork",
      [&] { return sessions.Fork(base.id, {}, other).status(); },
      [&] { return sessions.Delete(other.id); }));
  CHELA_RETURN_IF_ERROR(times.Measure(
      name + ": a turn, begin to commit",
      [&] {
        absl::StatusOr<SessionTurn> turn =
            sessions.BeginTurn(base.id, std::nullopt);
        if (!turn.ok()) return turn.status();
        return turn->Commit(subject.state, "").status();
      },
      Nothing));
  return sessions.Delete(base.id);
}

absl::Status MeasureRegistries(const SessionBenchOptions& options,
                               const Subject& subject, Times& times) {
  CHELA_RETURN_IF_ERROR(
      MeasureRegistry("memory", subject, nullptr, true, times));
  for (const bool cached : {true, false}) {
    const char* const how = cached ? "" : ", spilled";
    if (!options.folder.empty()) {
      absl::StatusOr<std::unique_ptr<SnapshotStore>> store =
          OpenFolderStore(options.folder);
      if (!store.ok()) return store.status();
      CHELA_RETURN_IF_ERROR(store->get()->Load().status());
      CHELA_RETURN_IF_ERROR(MeasureRegistry(absl::StrCat("folder", how),
                                            subject, *std::move(store), cached,
                                            times));
    }
    if (!options.redis.empty()) {
      absl::StatusOr<RedisAddress> address = RedisAddress::Parse(options.redis);
      if (!address.ok()) return address.status();
      RedisStoreOptions redis;
      redis.address = *std::move(address);
      redis.prefix = "chela-bench:";
      absl::StatusOr<std::unique_ptr<SnapshotStore>> store =
          OpenRedisStore(redis);
      if (!store.ok()) return store.status();
      CHELA_RETURN_IF_ERROR(MeasureRegistry(absl::StrCat("redis", how), subject,
                                            *std::move(store), cached, times));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunSessionBench(const SessionBenchOptions& options,
                             const Output& output) {
  signal(SIGPIPE, SIG_IGN);  // A Redis that goes away is an error of a call.
  const absl::StatusOr<Subject> subject = MakeSubject(options);
  if (!subject.ok()) return subject.status();
  const absl::StatusOr<std::string> bytes =
      EncodeSnapshot(*subject->state, subject->snapshot_model);
  if (!bytes.ok()) return bytes.status();
  const size_t raw = subject->state->state.size() +
                     subject->state->logits.size() * sizeof(float);
  output.Line(absl::StrFormat(
      "%s, %d tokens read", subject->snapshot_model.layout, options.position));
  output.Line(absl::StrFormat(
      "%.3f MB of floats, snapshot %.3f MB (%.1f%%)",
      static_cast<double>(raw) / 1e6, static_cast<double>(bytes->size()) / 1e6,
      100.0 * static_cast<double>(bytes->size()) / static_cast<double>(raw)));
  output.Line(
      absl::StrFormat("%-42s %9s %9s %9s", "ms", "median", "min", "max"));
  Times times(output, options.runs);
  CHELA_RETURN_IF_ERROR(MeasureSlot(*subject, times));
  CHELA_RETURN_IF_ERROR(MeasureSnapshot(*subject, *bytes, times));
  CHELA_RETURN_IF_ERROR(MeasureRegistries(options, *subject, times));
  return output.Write({{"host", DescribeHost()},
                       {"layout", subject->snapshot_model.layout},
                       {"position", options.position},
                       {"raw_bytes", raw},
                       {"snapshot_bytes", bytes->size()},
                       {"runs", options.runs},
                       {"rows", times.rows()}});
}

}  // namespace chela::bench
