#ifndef CHELA_TESTS_SERVER_STORE_MEDIUM_H_
#define CHELA_TESTS_SERVER_STORE_MEDIUM_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/session/snapshot_store.h"

namespace chela::test_support {

// A place for a store that outlives the store, as in a restart.
class StoreMedium {
 public:
  virtual ~StoreMedium() = default;
  virtual absl::StatusOr<std::unique_ptr<SnapshotStore>> Open() = 0;
  // For session_crash_driver.
  virtual std::string Where() = 0;
  // What a session is beside its snapshots.
  virtual size_t ItemsOfASession() = 0;
  // How many things it holds: files, folders or values, but not the lock.
  virtual size_t Items() = 0;
};

// "folder" or "redis". Null where the machine lacks what it needs, unless
// CHELA_REQUIRE_REDIS is set: that makes the lack a failure.
std::unique_ptr<StoreMedium> MakeStoreMedium(const std::string& kind);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_STORE_MEDIUM_H_
