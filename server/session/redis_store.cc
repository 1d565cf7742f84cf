#include "server/session/redis_store.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/session/redis_pool.h"

namespace chela {
namespace {

using Kind = RedisReply::Kind;
using Commands = std::vector<std::vector<std::string_view>>;

// How long the connections of a process that has just died may linger.
constexpr auto kTakeOverPatience = std::chrono::milliseconds(1000);
constexpr auto kTakeOverPause = std::chrono::milliseconds(20);
constexpr std::string_view kScanCount = "200";

// What connections and the lock are called: this process and 64 random bits.
absl::StatusOr<std::string> UniqueName() {
  std::array<char, 8> bytes;
  if (getrandom(bytes.data(), bytes.size(), 0) !=
      static_cast<ssize_t>(bytes.size())) {
    return absl::InternalError("redis: the system gives no random bytes");
  }
  return absl::StrCat("chela-", getpid(), "-",
                      absl::BytesToHexString({bytes.data(), bytes.size()}));
}

class RedisStore final : public SnapshotStore {
 public:
  RedisStore(const RedisStoreOptions& options, std::string name)
      : pool_(options.address, std::move(name), options.patience),
        prefix_(options.prefix),
        sessions_(absl::StrCat(prefix_, "sessions")),
        lock_(absl::StrCat(prefix_, "lock")) {}

  ~RedisStore() override {
    if (!locked_) return;
    Change({{"DEL", lock_}}).IgnoreError();  // Otherwise it lapses.
  }

  // Takes the lock, once its holder's connections are gone.
  absl::Status Lock();

  std::string Name() const override { return pool_.address().Name(); }
  absl::StatusOr<Contents> Load() override;

  absl::Status Write(const SessionRecord& record,
                     const NewSnapshot* snapshot) override {
    const std::string json = record.ToJson();
    const std::string hash = Snapshots(record.id);
    const std::string key =
        snapshot == nullptr ? "" : absl::StrCat(snapshot->key);
    Commands commands;
    if (snapshot != nullptr) {
      commands.push_back({"HSET", hash, key, snapshot->bytes});
    }
    commands.push_back({"HSET", sessions_, record.id, json});
    return Change(commands);
  }

  absl::StatusOr<std::string> Read(const std::string& id,
                                   const KeptState& state) override {
    const std::string hash = Snapshots(id);
    const std::string key = absl::StrCat(state.key);
    std::string bytes;
    CHELA_RETURN_IF_ERROR(pool_.Run([&](RedisConnection& connection)
                                        -> absl::Status {
      absl::StatusOr<RedisReply> reply = connection.Call({"HGET", hash, key});
      if (!reply.ok()) return reply.status();
      if (reply->kind == Kind::kNil) {
        return absl::NotFoundError(
            absl::StrCat("redis: no ", key, " in ", hash));
      }
      bytes = std::move(reply->text);
      return absl::OkStatus();
    }));
    if (static_cast<int64_t>(bytes.size()) == state.bytes) return bytes;
    return absl::DataLossError(absl::StrCat("redis: ", key, " in ", hash, ": ",
                                            bytes.size(), " bytes; want ",
                                            state.bytes));
  }

  absl::Status Drop(const std::string& id,
                    const std::vector<int64_t>& keys) override {
    if (keys.empty()) return absl::OkStatus();
    const std::string hash = Snapshots(id);
    std::vector<std::string> names;
    for (const int64_t key : keys) names.push_back(absl::StrCat(key));
    std::vector<std::string_view> command = {"HDEL", hash};
    command.insert(command.end(), names.begin(), names.end());
    return Change({command});
  }

  absl::Status Delete(const std::string& id) override {
    const std::string hash = Snapshots(id);
    return Change({{"HDEL", sessions_, id}, {"DEL", hash}});
  }

 private:
  std::string Snapshots(const std::string& id) const {
    return absl::StrCat(prefix_, "snapshots:", id);
  }

  // Runs `commands` as one transaction, if the lock is still ours.
  absl::Status Change(const Commands& commands);
  // One try to take the lock; ABORTED if another holds it.
  absl::Status TryLock(RedisConnection& connection);
  absl::Status Sweep(const SessionRecord& record);

  RedisPool pool_;
  const std::string prefix_;
  const std::string sessions_;
  const std::string lock_;
  bool locked_ = false;
};

// The first error in the answers to WATCH, MULTI ... EXEC, or of what EXEC did.
absl::Status TransactionStatus(const std::vector<RedisReply>& replies) {
  for (const RedisReply& reply : replies) {
    CHELA_RETURN_IF_ERROR(RedisConnection::StatusOf(reply));
  }
  if (replies.back().kind == Kind::kNil) {
    return absl::UnavailableError("redis: the lock changed hands meanwhile");
  }
  for (const RedisReply& done : replies.back().items) {
    CHELA_RETURN_IF_ERROR(RedisConnection::StatusOf(done));
  }
  return absl::OkStatus();
}

absl::Status RedisStore::Change(const Commands& commands) {
  return pool_.Run([&](RedisConnection& connection) -> absl::Status {
    // A change of the lock after WATCH makes EXEC do nothing.
    const absl::StatusOr<std::vector<RedisReply>> held =
        connection.CallAll({{"WATCH", lock_}, {"GET", lock_}});
    if (!held.ok()) return held.status();
    for (const RedisReply& reply : *held) {
      CHELA_RETURN_IF_ERROR(RedisConnection::StatusOf(reply));
    }
    if (held->back().kind != Kind::kText || held->back().text != pool_.name()) {
      connection.Call({"UNWATCH"}).status().IgnoreError();
      return absl::FailedPreconditionError(
          absl::StrCat(Name(), ": ", lock_, " is held by ",
                       held->back().text.empty() ? "nobody" : held->back().text,
                       ", no longer by this server (", pool_.name(), ")"));
    }
    Commands transaction = {{"MULTI"}};
    transaction.insert(transaction.end(), commands.begin(), commands.end());
    transaction.push_back({"EXEC"});
    const absl::StatusOr<std::vector<RedisReply>> replies =
        connection.CallAll(transaction);
    if (!replies.ok()) return replies.status();
    return TransactionStatus(*replies);
  });
}

absl::Status RedisStore::TryLock(RedisConnection& connection) {
  const absl::StatusOr<std::vector<RedisReply>> held = connection.CallAll(
      {{"WATCH", lock_}, {"GET", lock_}, {"CLIENT", "LIST"}});
  if (!held.ok()) return held.status();
  for (const RedisReply& reply : *held) {
    CHELA_RETURN_IF_ERROR(RedisConnection::StatusOf(reply));
  }
  const std::string& holder = (*held)[1].text;
  const bool alive = !holder.empty() && holder != pool_.name() &&
                     (*held)[2].text.find(absl::StrCat(
                         " name=", holder, " ")) != std::string::npos;
  if (alive) {
    connection.Call({"UNWATCH"}).status().IgnoreError();
    return absl::AbortedError(holder);
  }
  const absl::StatusOr<std::vector<RedisReply>> replies =
      connection.CallAll({{"MULTI"}, {"SET", lock_, pool_.name()}, {"EXEC"}});
  if (!replies.ok()) return replies.status();
  return TransactionStatus(*replies);
}

absl::Status RedisStore::Lock() {
  const auto give_up = std::chrono::steady_clock::now() + kTakeOverPatience;
  while (true) {
    const absl::Status tried = pool_.Run(
        [this](RedisConnection& connection) { return TryLock(connection); });
    locked_ = tried.ok();
    if (!absl::IsAborted(tried)) return tried;
    if (std::chrono::steady_clock::now() > give_up) {
      return absl::FailedPreconditionError(
          absl::StrCat(Name(), ": another server keeps its sessions under ",
                       prefix_, " (", tried.message(), ")"));
    }
    std::this_thread::sleep_for(kTakeOverPause);
  }
}

absl::StatusOr<SnapshotStore::Contents> RedisStore::Load() {
  std::map<std::string, std::string> records;  // A scan may repeat itself.
  const auto scan = [&](RedisConnection& connection) -> absl::Status {
    records.clear();
    std::string cursor = "0";
    do {
      absl::StatusOr<RedisReply> page =
          connection.Call({"HSCAN", sessions_, cursor, "COUNT", kScanCount});
      if (!page.ok()) return page.status();
      if (page->items.size() != 2) {
        return absl::InternalError("redis: HSCAN gave no page");
      }
      const std::vector<RedisReply>& fields = page->items[1].items;
      for (size_t i = 0; i + 1 < fields.size(); i += 2) {
        records[fields[i].text] = fields[i + 1].text;
      }
      cursor = page->items[0].text;
    } while (cursor != "0");
    return absl::OkStatus();
  };
  CHELA_RETURN_IF_ERROR(pool_.Run(scan));
  Contents contents;
  for (const auto& [id, json] : records) {
    if (!CheckName("session", id).ok()) continue;  // Not ours.
    absl::StatusOr<SessionRecord> record = ParseSessionRecord(json, id);
    if (record.ok()) {
      CHELA_RETURN_IF_ERROR(Sweep(*record));
      contents.sessions.push_back(*std::move(record));
    } else {
      contents.damaged.emplace_back(id, record.status());
    }
  }
  return contents;
}

absl::Status RedisStore::Sweep(const SessionRecord& record) {
  const std::string hash = Snapshots(record.id);
  const std::set<int64_t> kept = record.Keys();
  std::vector<int64_t> needless;
  CHELA_RETURN_IF_ERROR(pool_.Run([&](RedisConnection& connection)
                                      -> absl::Status {
    const absl::StatusOr<RedisReply> keys = connection.Call({"HKEYS", hash});
    if (!keys.ok()) return keys.status();
    needless.clear();
    for (const RedisReply& field : keys->items) {
      int64_t key = 0;
      if (absl::SimpleAtoi(field.text, &key) && kept.count(key) == 0) {
        needless.push_back(key);
      }
    }
    return absl::OkStatus();
  }));
  return Drop(record.id, needless);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenRedisStore(
    const RedisStoreOptions& options) {
  absl::StatusOr<std::string> name = UniqueName();
  if (!name.ok()) return name.status();
  auto store = std::make_unique<RedisStore>(options, *std::move(name));
  CHELA_RETURN_IF_ERROR(store->Lock());
  return std::unique_ptr<SnapshotStore>(std::move(store));
}

}  // namespace chela
