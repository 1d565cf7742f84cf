#ifndef CHELA_SERVER_SESSION_SNAPSHOT_PART_H_
#define CHELA_SERVER_SESSION_SNAPSHOT_PART_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/session/snapshot_header.h"

namespace chela {

// Compresses `raw` and appends it to `stored`; `part` becomes its description.
// The float32 values of kZstdPlanes come to a multiple of 4 bytes.
// RESOURCE_EXHAUSTED without memory.
absl::Status CompressPart(std::span<const std::byte> raw, SnapshotCodec codec,
                          SnapshotPart& part, std::string& stored);

// Fills `raw`, which has the size that the caller expects. DATA_LOSS if `part`
// describes another size or codec, or if the bytes do not come to it.
absl::Status DecompressPart(std::string_view stored, const SnapshotPart& part,
                            SnapshotCodec codec, std::span<std::byte> raw);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SNAPSHOT_PART_H_
