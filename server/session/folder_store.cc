#include "server/session/folder_store.h"

#include <unistd.h>

#include <cerrno>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/session/durable_file.h"
#include "server/session/folder_lock.h"

namespace chela {
namespace {

constexpr std::string_view kPrefix = "s_";  // so that no id is "." or ".."
constexpr const char* kRecord = "record.json";
// Far above what 18 states need: no record of ours.
constexpr int64_t kMaxRecordBytes = int64_t{1} << 20;

std::string SnapshotName(int64_t key) { return absl::StrCat(key, ".snapshot"); }

class FolderStore final : public SnapshotStore {
 public:
  FolderStore(std::string folder, std::unique_ptr<FolderLock> lock)
      : folder_(std::move(folder)),
        sessions_(absl::StrCat(folder_, "/sessions")),
        lock_(std::move(lock)) {}

  std::string Name() const override { return absl::StrCat("folder ", folder_); }

  absl::StatusOr<Contents> Load() override {
    const absl::StatusOr<std::vector<std::string>> names =
        ListDirectory(sessions_);
    if (!names.ok()) return names.status();
    Contents contents;
    for (const std::string& name : *names) {
      if (name.substr(0, kPrefix.size()) != kPrefix) continue;
      const std::string id = name.substr(kPrefix.size());
      if (!CheckName("session", id).ok()) continue;  // Not ours.
      LoadSession(id, contents);
    }
    return contents;
  }

  absl::Status Write(const SessionRecord& record,
                     const NewSnapshot* snapshot) override {
    const std::string directory = Directory(record.id);
    CHELA_RETURN_IF_ERROR(MakeDirectory(directory));
    // A full disk is noticed before anything has changed.
    absl::StatusOr<StagedFile> new_record =
        StagedFile::Write(directory, kRecord, record.ToJson());
    if (!new_record.ok()) return new_record.status();
    if (snapshot != nullptr) {
      absl::StatusOr<StagedFile> new_snapshot = StagedFile::Write(
          directory, SnapshotName(snapshot->key), snapshot->bytes);
      if (!new_snapshot.ok()) return new_snapshot.status();
      CHELA_RETURN_IF_ERROR(new_snapshot->Publish());
    }
    return new_record->Publish();
  }

  absl::StatusOr<std::string> Read(const std::string& id,
                                   const KeptState& state) override {
    const std::string path =
        absl::StrCat(Directory(id), "/", SnapshotName(state.key));
    absl::StatusOr<std::string> bytes = ReadFile(path, state.bytes);
    if (bytes.ok() && static_cast<int64_t>(bytes->size()) != state.bytes) {
      return absl::DataLossError(absl::StrCat(path, ": ", bytes->size(),
                                              " bytes; want ", state.bytes));
    }
    return bytes;
  }

  // Not forced to the disk: what comes back after a crash is swept.
  absl::Status Drop(const std::string& id,
                    const std::vector<int64_t>& keys) override {
    absl::Status first;
    for (const int64_t key : keys) {
      first.Update(
          RemoveFile(absl::StrCat(Directory(id), "/", SnapshotName(key))));
    }
    return first;
  }

  absl::Status Delete(const std::string& id) override {
    const std::string directory = Directory(id);
    if (access(directory.c_str(), F_OK) != 0 && errno == ENOENT) {
      return absl::OkStatus();
    }
    // Without its record the session is gone; the rest is tidying.
    CHELA_RETURN_IF_ERROR(RemoveFile(absl::StrCat(directory, "/", kRecord)));
    CHELA_RETURN_IF_ERROR(SyncDirectory(directory));
    return RemoveRest(directory);
  }

 private:
  std::string Directory(const std::string& id) const {
    return absl::StrCat(sessions_, "/", std::string(kPrefix), id);
  }

  // Removes a session's folder that has no record.
  absl::Status RemoveRest(const std::string& directory) {
    CHELA_RETURN_IF_ERROR(RemoveOthers(directory, {}));
    if (rmdir(directory.c_str()) != 0) {
      return FileStatus(errno, "remove", directory);
    }
    return SyncDirectory(sessions_);
  }

  // Removes all files of `directory` but `kept`.
  absl::Status RemoveOthers(const std::string& directory,
                            const std::set<std::string>& kept) {
    const absl::StatusOr<std::vector<std::string>> names =
        ListDirectory(directory);
    if (!names.ok()) return names.status();
    for (const std::string& name : *names) {
      if (kept.count(name) > 0) continue;
      CHELA_RETURN_IF_ERROR(RemoveFile(absl::StrCat(directory, "/", name)));
    }
    return absl::OkStatus();
  }

  void LoadSession(const std::string& id, Contents& contents) {
    const std::string directory = Directory(id);
    const absl::StatusOr<std::string> json =
        ReadFile(absl::StrCat(directory, "/", kRecord), kMaxRecordBytes);
    if (json.status().code() == absl::StatusCode::kNotFound) {
      // Never finished, or half deleted. What can't be removed does no harm.
      RemoveRest(directory).IgnoreError();
      return;
    }
    absl::StatusOr<SessionRecord> record =
        json.ok() ? ParseSessionRecord(*json, id)
                  : absl::StatusOr<SessionRecord>(json.status());
    if (!record.ok()) {
      contents.damaged.emplace_back(id, record.status());
      return;
    }
    std::set<std::string> kept = {kRecord};
    for (const int64_t key : record->Keys()) kept.insert(SnapshotName(key));
    RemoveOthers(directory, kept).IgnoreError();
    contents.sessions.push_back(*std::move(record));
  }

  const std::string folder_;
  const std::string sessions_;
  const std::unique_ptr<FolderLock> lock_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenFolderStore(
    const std::string& folder) {
  CHELA_RETURN_IF_ERROR(MakeDirectory(folder));
  absl::StatusOr<std::unique_ptr<FolderLock>> lock = FolderLock::Take(folder);
  if (!lock.ok()) return lock.status();
  CHELA_RETURN_IF_ERROR(MakeOwnDirectory(absl::StrCat(folder, "/sessions")));
  return std::unique_ptr<SnapshotStore>(
      std::make_unique<FolderStore>(folder, *std::move(lock)));
}

}  // namespace chela
