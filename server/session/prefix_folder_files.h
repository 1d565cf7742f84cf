#ifndef CHELA_SERVER_SESSION_PREFIX_FOLDER_FILES_H_
#define CHELA_SERVER_SESSION_PREFIX_FOLDER_FILES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/prefix_store.h"
#include "server/session/folder_lock.h"
#include "server/session/prefix_file.h"

namespace chela {

// The files of a PrefixFolder, without its thread. Blocks on the disk. Used by
// one thread at a time.
class PrefixFolderFiles {
 public:
  static absl::StatusOr<std::unique_ptr<PrefixFolderFiles>> Open(
      const std::string& folder, const std::string& identity,
      int64_t state_bytes, std::function<void(const std::string&)> warn);

  // The files that are whole, by their heads, the lowest key first. Removes
  // the others.
  absl::StatusOr<std::vector<PrefixStore::Found>> Scan();

  // The bytes of the file.
  absl::StatusOr<int64_t> Write(uint64_t key, PrefixFileHead head,
                                const StateBytes& state);
  // Removes what is damaged. NOT_FOUND, DATA_LOSS, UNAVAILABLE ...
  absl::StatusOr<StateBytes> Read(uint64_t key);
  void Remove(uint64_t key);

 private:
  PrefixFolderFiles(std::string folder, std::string identity,
                    int64_t state_bytes,
                    std::function<void(const std::string&)> warn,
                    std::unique_ptr<FolderLock> lock);
  std::string Path(uint64_t key) const;
  absl::StatusOr<PrefixStore::Found> ReadHead(uint64_t key);

  const std::string folder_;
  const std::string identity_;
  const int64_t state_bytes_;
  const std::function<void(const std::string&)> warn_;
  const std::unique_ptr<FolderLock> lock_;
  // Of each file, so that none is taken for another.
  std::map<uint64_t, uint64_t> checksums_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_PREFIX_FOLDER_FILES_H_
