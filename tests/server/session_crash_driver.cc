// session_crash_driver STORE FIRST_SEED: uses sessions until it is killed.
//
// STORE is a folder or a Redis URL. Two threads, each with a session of its
// own and a fork of it, say on standard output what they are about to do and,
// once the registry has said so, that it is done; a line is one write:
//   turn ID SEED CHECKPOINT      committed ID REVISION SEED CHECKPOINT
//   fork ID SEED                 forked ID SEED
//   delete ID                    deleted ID
// The state of a turn is RandomState(CrashModel(), SEED). Anything that fails
// ends the program with 1.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/folder_store.h"
#include "server/session/redis_store.h"
#include "server/session/session_registry.h"
#include "tests/server/session_states.h"

namespace chela {
namespace {

void Say(const std::string& words) {
  const std::string line = words + "\n";
  if (write(STDOUT_FILENO, line.data(), line.size()) !=
      static_cast<ssize_t>(line.size())) {
    std::_Exit(1);
  }
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::_Exit(1);
}

absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenStore(
    const std::string& where) {
  if (where.find("://") == std::string::npos) return OpenFolderStore(where);
  absl::StatusOr<RedisAddress> address = RedisAddress::Parse(where);
  if (!address.ok()) return address.status();
  RedisStoreOptions options;
  options.address = *std::move(address);
  return OpenRedisStore(options);
}

void Turn(SessionRegistry& registry, const std::string& id, uint64_t seed) {
  const std::string checkpoint =
      seed % 3 == 0 ? absl::StrCat("c", seed % 4) : "-";
  absl::StatusOr<SessionTurn> turn = registry.BeginTurn(id, std::nullopt);
  Check(turn.status());
  const auto state =
      test_support::RandomStatePtr(test_support::CrashModel(), seed);
  Say(absl::StrCat("turn ", id, " ", seed, " ", checkpoint));
  const absl::StatusOr<int64_t> revision =
      turn->Commit(state, checkpoint == "-" ? "" : checkpoint);
  Check(revision.status());
  Say(absl::StrCat("committed ", id, " ", *revision, " ", seed, " ",
                   checkpoint));
}

[[noreturn]] void UseSessions(SessionRegistry& registry, int thread,
                              std::atomic<uint64_t>& seeds) {
  const std::string id = absl::StrCat("s", thread);
  const std::string fork = absl::StrCat("f", thread);
  if (!registry.Get(id).ok()) {
    Check(registry.Create({id, "user", {}}).status());
  }
  while (true) {
    const uint64_t seed = seeds++;
    Turn(registry, id, seed);
    if (seed % 5 != 0) continue;
    if (registry.Get(fork).ok()) {
      Say(absl::StrCat("delete ", fork));
      Check(registry.Delete(fork));
      Say(absl::StrCat("deleted ", fork));
    }
    Say(absl::StrCat("fork ", fork, " ", seed));
    Check(registry.Fork(id, {}, {fork, "user", {}}).status());
    Say(absl::StrCat("forked ", fork, " ", seed));
  }
}

int Main(const std::string& where, uint64_t first_seed) {
  signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::unique_ptr<SnapshotStore>> store = OpenStore(where);
  Check(store.status());
  RegistryOptions options;
  options.model = test_support::CrashModel();
  options.memory_bytes = 1;  // Every turn reads what the one before stored.
  Metrics metrics("m");
  auto registry = SessionRegistry::Open(options, *std::move(store), metrics);
  Check(registry.status());
  std::atomic<uint64_t> seeds = first_seed;
  std::thread other([&] { UseSessions(**registry, 1, seeds); });
  UseSessions(**registry, 0, seeds);
}

}  // namespace
}  // namespace chela

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: session_crash_driver STORE FIRST_SEED\n");
    return 2;
  }
  return chela::Main(argv[1], std::strtoull(argv[2], nullptr, 10));
}
