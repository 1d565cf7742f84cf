#ifndef CHELA_SERVER_RPC_SIGNED_STATE_H_
#define CHELA_SERVER_RPC_SIGNED_STATE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace chela {

// Signs the snapshots that clients keep (return_state), so that only states
// which a server with the same key has made come back in. A signed state is
// HMAC-SHA256 (RFC 2104, FIPS 180-4) of the snapshot, 32 bytes, then the
// snapshot. It is readable: a signature hides nothing. It does not expire, and
// may be used any number of times.
//
// Immutable, thread-safe.
class StateSigner {
 public:
  static constexpr size_t kSignatureBytes = 32;
  static constexpr size_t kMinKeyBytes = 32;
  static constexpr size_t kMaxKeyBytes = 4096;

  // The key is all bytes of the file, which are as many as above; one line feed
  // at its end is not part of it. NOT_FOUND, INVALID_ARGUMENT.
  static absl::StatusOr<StateSigner> Load(const std::string& path);
  explicit StateSigner(std::string key) : key_(std::move(key)) {}

  std::string Sign(std::string_view snapshot) const;
  // The snapshot in `bytes`, which it points into. PERMISSION_DENIED if the
  // signature is not of this key and these bytes; nothing else was looked at.
  absl::StatusOr<std::string_view> Verify(std::string_view bytes) const;

 private:
  std::string key_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_SIGNED_STATE_H_
