#ifndef CHELA_SERVER_SESSION_FOLDER_STORE_H_
#define CHELA_SERVER_SESSION_FOLDER_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/session/snapshot_store.h"

namespace chela {

// Sessions in a folder:
//   lock                            held as long as the store is open
//   sessions/s_ID/record.json       the session's record
//   sessions/s_ID/KEY.snapshot      the snapshots that it names
// Folders have mode 0700 and files 0600, since states tell of users' texts. A
// file is written under another name, forced to the disk and renamed, the
// record last: a crash of the machine, too, leaves the old session or the new
// one, if the disk keeps what it says it has written.
//
// folder: made if it is missing. FAILED_PRECONDITION if another server has it
// open (on this machine: locks of network file systems differ), UNAVAILABLE if
// it can't be made or written.
absl::StatusOr<std::unique_ptr<SnapshotStore>> OpenFolderStore(
    const std::string& folder);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_FOLDER_STORE_H_
