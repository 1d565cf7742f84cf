#ifndef CHELA_SERVER_SESSION_FOLDER_LOCK_H_
#define CHELA_SERVER_SESSION_FOLDER_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace chela {

// A folder that one process uses at a time: a lock on FOLDER/lock, which holds
// the process's number, until this object or the process ends.
class FolderLock {
 public:
  // FAILED_PRECONDITION, with the number, if somebody has it (on this machine:
  // locks of network file systems differ); UNAVAILABLE if it can't be locked.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(
      const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_FOLDER_LOCK_H_
