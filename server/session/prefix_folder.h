#ifndef CHELA_SERVER_SESSION_PREFIX_FOLDER_H_
#define CHELA_SERVER_SESSION_PREFIX_FOLDER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/prefix_store.h"

namespace chela {

struct PrefixFolderOptions {
  std::string folder;  // made if it is missing
  // Whatever decides about a state's bits: model, layout, device, kernels. The
  // files of another one are removed. At most 4096 bytes.
  std::string identity;
  int64_t state_bytes = 0;
  // What waits to be written, in memory; one state at least.
  int64_t queue_bytes = int64_t{64} << 20;
  // After the disk has failed.
  std::chrono::milliseconds pause = std::chrono::seconds(60);
  // A line for the log. Called on any thread.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

// The states of a prefix cache in files (prefix_file.h):
//   lock                     held as long as it is open
//   prefixes/KEY.prefix      KEY in 16 hexadecimal digits
// with mode 0600, since they hold tokens of prompts. A file is written under
// another name and renamed, but not forced to the disk: one that a crash of the
// machine left damaged is a miss. What is damaged or not this identity's is
// removed, with a line in the log; other names are left alone. When the disk is
// full or fails, a line says so once, and nothing is written for `pause`.
//
// FAILED_PRECONDITION if another process has the folder (folder_lock.h),
// UNAVAILABLE if it can't be used.
absl::StatusOr<std::unique_ptr<PrefixStore>> OpenPrefixFolder(
    PrefixFolderOptions options);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_PREFIX_FOLDER_H_
