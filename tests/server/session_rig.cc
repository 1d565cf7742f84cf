#include "tests/server/session_rig.h"

#include "kernels/status_macros.h"

namespace chela::test_support {

absl::StatusOr<SnapshotStore::Contents> FakeStore::Load() {
  const std::lock_guard lock(medium_.mutex);
  Contents contents;
  for (const auto& [id, json] : medium_.records) {
    absl::StatusOr<SessionRecord> record = ParseSessionRecord(json, id);
    if (record.ok()) {
      contents.sessions.push_back(*std::move(record));
    } else {
      contents.damaged.emplace_back(id, record.status());
    }
  }
  return contents;
}

absl::Status FakeStore::Write(const SessionRecord& record,
                              const NewSnapshot* snapshot) {
  const std::lock_guard lock(medium_.mutex);
  if (medium_.write_status.ok() || medium_.writes_happen) {
    if (snapshot != nullptr) {
      medium_.snapshots[{record.id, snapshot->key}] = snapshot->bytes;
    }
    medium_.records[record.id] = record.ToJson();
  }
  return medium_.write_status;
}

absl::StatusOr<std::string> FakeStore::Read(const std::string& id,
                                            const KeptState& state) {
  const std::lock_guard lock(medium_.mutex);
  ++medium_.reads;
  CHELA_RETURN_IF_ERROR(medium_.read_status);
  const auto found = medium_.snapshots.find({id, state.key});
  if (found == medium_.snapshots.end()) return absl::NotFoundError("none");
  return found->second;
}

absl::Status FakeStore::Drop(const std::string& id,
                             const std::vector<int64_t>& keys) {
  const std::lock_guard lock(medium_.mutex);
  CHELA_RETURN_IF_ERROR(medium_.drop_status);
  for (const int64_t key : keys) medium_.snapshots.erase({id, key});
  return absl::OkStatus();
}

absl::Status FakeStore::Delete(const std::string& id) {
  if (medium_.during_delete) medium_.during_delete();
  const std::lock_guard lock(medium_.mutex);
  CHELA_RETURN_IF_ERROR(medium_.delete_status);
  medium_.records.erase(id);
  std::erase_if(medium_.snapshots,
                [&id](const auto& item) { return item.first.first == id; });
  return absl::OkStatus();
}

void SessionTest::Open() {
  registry_.reset();
  auto opened = SessionRegistry::Open(
      options_, has_store() ? std::make_unique<FakeStore>(medium_) : nullptr,
      metrics_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  registry_ = *std::move(opened);
}

int64_t SessionTest::Turn(const std::string& id, uint64_t seed,
                          const std::string& checkpoint,
                          std::optional<int64_t> expected) {
  absl::StatusOr<SessionTurn> turn = registry_->BeginTurn(id, expected);
  EXPECT_TRUE(turn.ok()) << turn.status();
  if (!turn.ok()) return -1;
  const absl::StatusOr<int64_t> revision =
      turn->Commit(State(seed), checkpoint);
  EXPECT_TRUE(revision.ok()) << revision.status();
  return revision.value_or(-1);
}

SequenceStatePtr SessionTest::Start(const std::string& id,
                                    std::optional<int64_t> expected) {
  const absl::StatusOr<SessionTurn> turn = registry_->BeginTurn(id, expected);
  EXPECT_TRUE(turn.ok()) << turn.status();
  return turn.ok() ? turn->start() : nullptr;
}

absl::StatusCode SessionTest::StartCode(const std::string& id,
                                        std::optional<int64_t> expected) {
  return registry_->BeginTurn(id, expected).status().code();
}

SessionInfo SessionTest::Create(const std::string& id,
                                const std::string& user) {
  const absl::StatusOr<SessionInfo> info =
      registry_->Create({.id = id, .user = user, .ttl = std::nullopt});
  EXPECT_TRUE(info.ok()) << info.status();
  return info.value_or(SessionInfo());
}

}  // namespace chela::test_support
