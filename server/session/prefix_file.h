#ifndef CHELA_SERVER_SESSION_PREFIX_FILE_H_
#define CHELA_SERVER_SESSION_PREFIX_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela {

// A state after a prefix of a prompt as a file, byte for byte as
// docs/snapshot-format.md says.
inline constexpr size_t kPrefixPrologueBytes = 32;
inline constexpr size_t kMaxPrefixTokens = size_t{1} << 20;

// Whose state it is.
struct PrefixFileHead {
  std::string identity;  // of whatever decides about the state's bits
  std::string salt;
  std::vector<int32_t> tokens;  // at most kMaxPrefixTokens
};

// The whole file. RESOURCE_EXHAUSTED without memory.
absl::StatusOr<std::string> EncodePrefixFile(const PrefixFileHead& head,
                                             std::span<const std::byte> state);
// No such file has more bytes.
int64_t MaxPrefixFileBytes(size_t identity, size_t salt, size_t tokens,
                           size_t state);

// What the prologue says, once it is one. DATA_LOSS.
struct PrefixPrologue {
  size_t header_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t checksum = 0;  // of prologue and header
};
absl::StatusOr<PrefixPrologue> ReadPrefixPrologue(std::string_view bytes);
// The head of a file of which `bytes` are prologue and header at least.
// DATA_LOSS.
absl::StatusOr<PrefixFileHead> ReadPrefixHead(std::string_view bytes);
// The state of a whole file, into exactly its size. DATA_LOSS.
absl::Status ReadPrefixState(std::string_view bytes,
                             std::span<std::byte> state);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_PREFIX_FILE_H_
