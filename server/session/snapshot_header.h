#ifndef CHELA_SERVER_SESSION_SNAPSHOT_HEADER_H_
#define CHELA_SERVER_SESSION_SNAPSHOT_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace chela {

// The head of a snapshot, byte for byte as docs/snapshot-format.md says.
inline constexpr uint32_t kSnapshotVersion = 1;
inline constexpr size_t kSnapshotPrologueBytes = 32;
inline constexpr size_t kMaxSnapshotHeaderBytes = 4096;
inline constexpr size_t kMaxSnapshotHeadBytes =
    kSnapshotPrologueBytes + kMaxSnapshotHeaderBytes;
inline constexpr size_t kMaxCutBytes = 3;  // of TextState::cut

enum class SnapshotCodec : uint32_t {
  kZstd = 1,        // the raw bytes
  kZstdPlanes = 2,  // every 4th byte from the 1st on, then from the 2nd ...
};

// One compressed part.
struct SnapshotPart {
  SnapshotCodec codec = SnapshotCodec::kZstd;
  uint64_t raw_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t checksum = 0;  // XXH64 of the stored bytes
};
inline constexpr size_t kTextPart = 0;  // counts, recent, cut, tail
inline constexpr size_t kLogitsPart = 1;
inline constexpr size_t kStatePart = 2;

struct SnapshotHeader {
  int64_t position = 0;
  int64_t pending = -1;  // -1: none
  uint64_t token_hash = 0;
  uint64_t seed = 0;
  int64_t draws = 0;
  uint32_t vocab = 0;
  uint32_t counts = 0;
  uint32_t recent = 0;
  uint32_t cut_bytes = 0;
  uint32_t tail_bytes = 0;
  std::array<SnapshotPart, 3> parts;
  std::string fingerprint;
  std::string layout;

  // Of the text part, from the numbers above.
  uint64_t TextPartBytes() const;
};

// The text part has at most so many raw bytes.
size_t MaxTextPartBytes(int32_t vocab);

// Prologue and header of a snapshot whose parts are described in `header`.
std::string WriteSnapshotHead(const SnapshotHeader& header,
                              uint32_t version = kSnapshotVersion);

// A header and where its parts are.
struct SnapshotHead {
  SnapshotHeader header;
  std::array<std::string_view, 3> parts;  // point into the bytes read
};
// Checks magic, size, the head's checksum, version and the parts' checksums, in
// that order; nothing about the model. DATA_LOSS for anything damaged,
// truncated or too long, FAILED_PRECONDITION for another version's snapshot.
absl::StatusOr<SnapshotHead> ReadSnapshotHead(std::string_view bytes);
// The header alone, of a snapshot that begins with `bytes`: errors likewise,
// but for its size.
absl::StatusOr<SnapshotHeader> ReadSnapshotHeader(std::string_view bytes);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SNAPSHOT_HEADER_H_
