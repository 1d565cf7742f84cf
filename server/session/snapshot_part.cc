#include "server/session/snapshot_part.h"

#include <xxhash.h>
#include <zstd.h>

#include <vector>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

// Mantissas are noise: higher levels cost time and save nothing.
constexpr int kZstdLevel = 1;

// Sign and exponent of neighbouring floats are alike, their mantissas are not.
// Apart, the first compress and the others are passed over.
constexpr size_t kPlanes = sizeof(float);

std::vector<std::byte> Split(std::span<const std::byte> raw) {
  const size_t count = raw.size() / kPlanes;
  std::vector<std::byte> planes(raw.size());
  for (size_t plane = 0; plane < kPlanes; ++plane) {
    std::byte* const to = planes.data() + plane * count;
    for (size_t i = 0; i < count; ++i) to[i] = raw[i * kPlanes + plane];
  }
  return planes;
}

void Join(std::span<const std::byte> planes, std::span<std::byte> raw) {
  const size_t count = raw.size() / kPlanes;
  for (size_t plane = 0; plane < kPlanes; ++plane) {
    const std::byte* const from = planes.data() + plane * count;
    for (size_t i = 0; i < count; ++i) raw[i * kPlanes + plane] = from[i];
  }
}

absl::Status Unzip(std::string_view stored, std::span<std::byte> raw) {
  // An empty part still needs an address.
  std::byte none{};
  const size_t written =
      ZSTD_decompress(raw.empty() ? &none : raw.data(), raw.size(),
                      stored.data(), stored.size());
  if (ZSTD_isError(written)) {
    return absl::DataLossError(
        absl::StrCat("snapshot: zstd: ", ZSTD_getErrorName(written)));
  }
  if (written != raw.size()) {
    return absl::DataLossError(absl::StrCat("snapshot: a part of ", written,
                                            " bytes; want ", raw.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CompressPart(std::span<const std::byte> raw, SnapshotCodec codec,
                          SnapshotPart& part, std::string& stored) {
  std::vector<std::byte> planes;
  std::span<const std::byte> from = raw;
  if (codec == SnapshotCodec::kZstdPlanes) {
    planes = Split(raw);
    from = planes;
  }
  const size_t begin = stored.size();
  stored.resize(begin + ZSTD_compressBound(from.size()));
  const size_t written =
      ZSTD_compress(stored.data() + begin, stored.size() - begin, from.data(),
                    from.size(), kZstdLevel);
  if (ZSTD_isError(written)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("snapshot: zstd: ", ZSTD_getErrorName(written)));
  }
  stored.resize(begin + written);
  part = {.codec = codec,
          .raw_bytes = raw.size(),
          .stored_bytes = written,
          .checksum = XXH64(stored.data() + begin, written, 0)};
  return absl::OkStatus();
}

absl::Status DecompressPart(std::string_view stored, const SnapshotPart& part,
                            SnapshotCodec codec, std::span<std::byte> raw) {
  if (part.codec != codec || part.raw_bytes != raw.size()) {
    return absl::DataLossError(absl::StrCat(
        "snapshot: a part of ", part.raw_bytes, " bytes in coding ",
        static_cast<uint32_t>(part.codec), "; want ", raw.size(), " in ",
        static_cast<uint32_t>(codec)));
  }
  if (codec == SnapshotCodec::kZstd) return Unzip(stored, raw);
  std::vector<std::byte> planes(raw.size());
  const absl::Status unzipped = Unzip(stored, planes);
  if (unzipped.ok()) Join(planes, raw);
  return unzipped;
}

}  // namespace chela
