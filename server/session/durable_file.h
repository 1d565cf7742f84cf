#ifndef CHELA_SERVER_SESSION_DURABLE_FILE_H_
#define CHELA_SERVER_SESSION_DURABLE_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela {

// Files that are there as a whole or not at all, whenever the process or the
// machine stops. Errors: RESOURCE_EXHAUSTED if the disk or a quota is full,
// NOT_FOUND, otherwise UNAVAILABLE, with the path and the system's words.
// Thread-safe.

// A new file that is on the disk, mode 0600, under a name that nobody looks
// for. Publish gives it its own, in the place of an older file; otherwise the
// destructor removes it. Move-only.
class StagedFile {
 public:
  static absl::StatusOr<StagedFile> Write(const std::string& directory,
                                          const std::string& name,
                                          std::string_view bytes);
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;
  ~StagedFile();

  // Once only. After an error the old file is there or the new one.
  absl::Status Publish();

 private:
  StagedFile(std::string directory, std::string temporary, std::string path);
  std::string directory_;
  std::string temporary_;  // empty: nothing to remove
  std::string path_;
};

// The same without forcing it to the disk: whole or not at all if only the
// process stops. What it had written before an error is gone again.
absl::Status WriteWholeFile(const std::string& directory,
                            const std::string& name, std::string_view bytes);
// Whether a name is that of a file that was never published.
bool IsUnpublished(std::string_view name);

// The first bytes of a file, `bytes` of them if it has as many.
struct FileStart {
  std::string bytes;
  int64_t file_bytes = 0;
};
absl::StatusOr<FileStart> ReadFileStart(const std::string& path, int64_t bytes);
// The whole file, at most `max_bytes`. DATA_LOSS if it is larger. Neither
// follows a link or reads what is no file.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes);

// Makes a folder, mode 0700, and its parents; OK if it is there.
absl::Status MakeDirectory(const std::string& path);
// The same for one that nobody else may have a hand in: FAILED_PRECONDITION if
// it is a link, or if everybody may write there.
absl::Status MakeOwnDirectory(const std::string& path);
// Forces the names in `directory` to the disk.
absl::Status SyncDirectory(const std::string& directory);
// The names in `directory`, in no order, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& directory);
// Removes a file; OK if there is none.
absl::Status RemoveFile(const std::string& path);

// `error` is an errno.
absl::Status FileStatus(int error, std::string_view doing,
                        const std::string& path);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_DURABLE_FILE_H_
