#include "server/session/snapshot_header.h"

#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/engine/sequence_state.h"
#include "server/session/byte_order.h"

namespace chela {
namespace {

// The first byte is no text and the last two change when a snapshot is moved
// as one.
constexpr std::string_view kMagic(
    "\x89"
    "CHELA\r\n",
    8);
constexpr size_t kChecksumAt = 24;  // in the prologue, its last field

constexpr uint64_t kCountBytes = 12;
constexpr uint64_t kRecentBytes = 4;

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(absl::StrCat("snapshot: ", what));
}

// Of everything before the checksum and behind it, up to the parts.
uint64_t HeadChecksum(std::string_view prologue, std::string_view header) {
  const uint64_t first = XXH64(prologue.data(), kChecksumAt, 0);
  return XXH64(header.data(), header.size(), first);
}

absl::StatusOr<SnapshotHeader> ParseHeader(std::string_view bytes) {
  ByteReader reader(bytes);
  SnapshotHeader header;
  header.position = reader.Get<int64_t>();
  header.pending = reader.Get<int64_t>();
  header.token_hash = reader.Get<uint64_t>();
  header.seed = reader.Get<uint64_t>();
  header.draws = reader.Get<int64_t>();
  header.vocab = reader.Get<uint32_t>();
  header.counts = reader.Get<uint32_t>();
  header.recent = reader.Get<uint32_t>();
  header.cut_bytes = reader.Get<uint32_t>();
  header.tail_bytes = reader.Get<uint32_t>();
  for (SnapshotPart& part : header.parts) {
    part.codec = static_cast<SnapshotCodec>(reader.Get<uint32_t>());
    part.raw_bytes = reader.Get<uint64_t>();
    part.stored_bytes = reader.Get<uint64_t>();
    part.checksum = reader.Get<uint64_t>();
  }
  for (std::string* text : {&header.fingerprint, &header.layout}) {
    *text = std::string(reader.GetBytes(reader.Get<uint32_t>()));
  }
  if (reader.failed() || !reader.at_end()) {
    return Damaged(absl::StrCat("a header of ", bytes.size(),
                                " bytes does not hold the fields of version ",
                                kSnapshotVersion));
  }
  return header;
}

// Cuts `rest` into the stored parts and checks them.
absl::Status FindParts(std::string_view rest, SnapshotHead& head) {
  for (size_t i = 0; i < head.parts.size(); ++i) {
    const SnapshotPart& part = head.header.parts[i];
    if (part.stored_bytes > rest.size()) {
      return Damaged(absl::StrCat("part ", i, " of ", part.stored_bytes,
                                  " bytes; ", rest.size(), " are left"));
    }
    head.parts[i] = rest.substr(0, part.stored_bytes);
    rest.remove_prefix(part.stored_bytes);
    const uint64_t checksum =
        XXH64(head.parts[i].data(), head.parts[i].size(), 0);
    if (checksum != part.checksum) {
      return Damaged(
          absl::StrFormat("part %d has the checksum %016x; want "
                          "%016x",
                          i, checksum, part.checksum));
    }
  }
  if (rest.empty()) return absl::OkStatus();
  return Damaged(absl::StrCat(rest.size(), " bytes behind the last part"));
}

// The header's bytes, once prologue and checksum are as they must be. whole:
// the snapshot ends where the bytes do.
absl::StatusOr<std::string_view> CheckPrologue(std::string_view bytes,
                                               bool whole) {
  if (bytes.size() < kSnapshotPrologueBytes) {
    return Damaged(absl::StrCat(bytes.size(), " bytes; want at least ",
                                kSnapshotPrologueBytes));
  }
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("it does not begin like one (89 43 48 45 4c 41 0d 0a)");
  }
  ByteReader reader(bytes.substr(kMagic.size()));
  const auto version = reader.Get<uint32_t>();
  const auto header_bytes = reader.Get<uint32_t>();
  const auto total = reader.Get<uint64_t>();
  const auto checksum = reader.Get<uint64_t>();
  if (whole && total != bytes.size()) {
    return Damaged(absl::StrCat(bytes.size(), " bytes; it says ", total));
  }
  if (header_bytes > kMaxSnapshotHeaderBytes ||
      header_bytes > bytes.size() - kSnapshotPrologueBytes) {
    return Damaged(absl::StrCat("a header of ", header_bytes, " bytes; want ",
                                "at most ", kMaxSnapshotHeaderBytes,
                                " and no more than there are"));
  }
  const std::string_view header =
      bytes.substr(kSnapshotPrologueBytes, header_bytes);
  const uint64_t found = HeadChecksum(bytes, header);
  if (found != checksum) {
    return Damaged(absl::StrFormat(
        "the header has the checksum %016x; want %016x", found, checksum));
  }
  if (version != kSnapshotVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot: version ", version, "; this server reads ",
                     "version ", kSnapshotVersion));
  }
  return header;
}

}  // namespace

uint64_t SnapshotHeader::TextPartBytes() const {
  return counts * kCountBytes + recent * kRecentBytes + cut_bytes + tail_bytes;
}

size_t MaxTextPartBytes(int32_t vocab) {
  return static_cast<size_t>(vocab) * kCountBytes +
         kMaxRecentTokens * kRecentBytes + kMaxCutBytes + kMaxTextTail;
}

std::string WriteSnapshotHead(const SnapshotHeader& header, uint32_t version) {
  ByteWriter fields;
  fields.Put(header.position);
  fields.Put(header.pending);
  fields.Put(header.token_hash);
  fields.Put(header.seed);
  fields.Put(header.draws);
  fields.Put(header.vocab);
  fields.Put(header.counts);
  fields.Put(header.recent);
  fields.Put(header.cut_bytes);
  fields.Put(header.tail_bytes);
  uint64_t total = kSnapshotPrologueBytes;
  for (const SnapshotPart& part : header.parts) {
    fields.Put(static_cast<uint32_t>(part.codec));
    fields.Put(part.raw_bytes);
    fields.Put(part.stored_bytes);
    fields.Put(part.checksum);
    total += part.stored_bytes;
  }
  for (const std::string* text : {&header.fingerprint, &header.layout}) {
    fields.Put(static_cast<uint32_t>(text->size()));
    fields.PutBytes(*text);
  }
  total += fields.bytes().size();

  ByteWriter head;
  head.PutBytes(kMagic);
  head.Put(version);
  head.Put(static_cast<uint32_t>(fields.bytes().size()));
  head.Put(total);
  head.Put(HeadChecksum(head.bytes(), fields.bytes()));
  head.PutBytes(fields.bytes());
  return head.bytes();
}

absl::StatusOr<SnapshotHeader> ReadSnapshotHeader(std::string_view bytes) {
  const absl::StatusOr<std::string_view> fields = CheckPrologue(bytes, false);
  if (!fields.ok()) return fields.status();
  return ParseHeader(*fields);
}

absl::StatusOr<SnapshotHead> ReadSnapshotHead(std::string_view bytes) {
  const absl::StatusOr<std::string_view> fields = CheckPrologue(bytes, true);
  if (!fields.ok()) return fields.status();
  absl::StatusOr<SnapshotHeader> header = ParseHeader(*fields);
  if (!header.ok()) return header.status();
  SnapshotHead head;
  head.header = *std::move(header);
  CHELA_RETURN_IF_ERROR(
      FindParts(bytes.substr(kSnapshotPrologueBytes + fields->size()), head));
  return head;
}

}  // namespace chela
