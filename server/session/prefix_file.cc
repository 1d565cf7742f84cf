#include "server/session/prefix_file.h"

#include <xxhash.h>
#include <zstd.h>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/session/byte_order.h"
#include "server/session/snapshot_part.h"

namespace chela {
namespace {

constexpr std::string_view kMagic(
    "\x89"
    "CHPFX\r\n",
    8);
constexpr uint32_t kVersion = 1;
constexpr size_t kChecksumAt = 24;  // in the prologue, its last field
constexpr size_t kFixedHeaderBytes = 3 * 4 + 4 + 3 * 8;
constexpr size_t kMaxTextBytes = 4096;  // of identity and salt, each
constexpr size_t kMaxHeaderBytes =
    kFixedHeaderBytes + 2 * kMaxTextBytes + kMaxPrefixTokens * sizeof(int32_t);

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(absl::StrCat("prefix: ", what));
}

uint64_t Checksum(std::string_view prologue, std::string_view header) {
  const uint64_t first = XXH64(prologue.data(), kChecksumAt, 0);
  return XXH64(header.data(), header.size(), first);
}

struct Header {
  PrefixFileHead head;
  SnapshotPart part;
  std::string_view stored;  // what of the part is there
};

absl::StatusOr<Header> ReadHeader(std::string_view bytes) {
  const absl::StatusOr<PrefixPrologue> prologue = ReadPrefixPrologue(bytes);
  if (!prologue.ok()) return prologue.status();
  if (bytes.size() < kPrefixPrologueBytes + prologue->header_bytes) {
    return Damaged(absl::StrCat(bytes.size(), " bytes; the header alone has ",
                                prologue->header_bytes));
  }
  const std::string_view fields =
      bytes.substr(kPrefixPrologueBytes, prologue->header_bytes);
  if (Checksum(bytes, fields) != prologue->checksum) {
    return Damaged("the header's checksum is wrong");
  }
  ByteReader reader(fields);
  Header header;
  header.head.identity = std::string(reader.GetBytes(reader.Get<uint32_t>()));
  header.head.salt = std::string(reader.GetBytes(reader.Get<uint32_t>()));
  const auto tokens = reader.Get<uint32_t>();
  if (tokens > kMaxPrefixTokens) {
    return Damaged(absl::StrCat(tokens, " tokens"));
  }
  header.head.tokens.resize(tokens);
  for (int32_t& token : header.head.tokens) token = reader.Get<int32_t>();
  header.part.codec = static_cast<SnapshotCodec>(reader.Get<uint32_t>());
  header.part.raw_bytes = reader.Get<uint64_t>();
  header.part.stored_bytes = reader.Get<uint64_t>();
  header.part.checksum = reader.Get<uint64_t>();
  if (reader.failed() || !reader.at_end()) {
    return Damaged("the header does not hold its fields");
  }
  header.stored = bytes.substr(kPrefixPrologueBytes + fields.size());
  return header;
}

}  // namespace

int64_t MaxPrefixFileBytes(size_t identity, size_t salt, size_t tokens,
                           size_t state) {
  return static_cast<int64_t>(kPrefixPrologueBytes + kFixedHeaderBytes +
                              identity + salt + tokens * sizeof(int32_t) +
                              ZSTD_compressBound(state));
}

absl::StatusOr<std::string> EncodePrefixFile(const PrefixFileHead& head,
                                             std::span<const std::byte> state) {
  SnapshotPart part;
  std::string stored;
  CHELA_RETURN_IF_ERROR(
      CompressPart(state, SnapshotCodec::kZstdPlanes, part, stored));
  ByteWriter fields;
  for (const std::string* text : {&head.identity, &head.salt}) {
    fields.Put(static_cast<uint32_t>(text->size()));
    fields.PutBytes(*text);
  }
  fields.Put(static_cast<uint32_t>(head.tokens.size()));
  for (const int32_t token : head.tokens) fields.Put(token);
  fields.Put(static_cast<uint32_t>(part.codec));
  fields.Put(part.raw_bytes);
  fields.Put(part.stored_bytes);
  fields.Put(part.checksum);

  ByteWriter prologue;
  prologue.PutBytes(kMagic);
  prologue.Put(kVersion);
  prologue.Put(static_cast<uint32_t>(fields.bytes().size()));
  prologue.Put(static_cast<uint64_t>(kPrefixPrologueBytes +
                                     fields.bytes().size() + stored.size()));
  prologue.Put(Checksum(prologue.bytes(), fields.bytes()));
  return absl::StrCat(prologue.bytes(), fields.bytes(), stored);
}

absl::StatusOr<PrefixPrologue> ReadPrefixPrologue(std::string_view bytes) {
  if (bytes.size() < kPrefixPrologueBytes ||
      bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("it does not begin like one");
  }
  ByteReader reader(bytes.substr(kMagic.size()));
  const auto version = reader.Get<uint32_t>();
  PrefixPrologue prologue;
  prologue.header_bytes = reader.Get<uint32_t>();
  prologue.file_bytes = reader.Get<uint64_t>();
  prologue.checksum = reader.Get<uint64_t>();
  if (version != kVersion) {
    return Damaged(absl::StrCat("version ", version, "; want ", kVersion));
  }
  if (prologue.header_bytes > kMaxHeaderBytes) {
    return Damaged(absl::StrCat("a header of ", prologue.header_bytes,
                                " bytes; want at most ", kMaxHeaderBytes));
  }
  return prologue;
}

absl::StatusOr<PrefixFileHead> ReadPrefixHead(std::string_view bytes) {
  absl::StatusOr<Header> header = ReadHeader(bytes);
  if (!header.ok()) return header.status();
  return std::move(header->head);
}

absl::Status ReadPrefixState(std::string_view bytes,
                             std::span<std::byte> state) {
  const absl::StatusOr<Header> header = ReadHeader(bytes);
  if (!header.ok()) return header.status();
  const std::string_view stored = header->stored;
  if (stored.size() != header->part.stored_bytes ||
      XXH64(stored.data(), stored.size(), 0) != header->part.checksum) {
    return Damaged("the state's checksum is wrong");
  }
  return DecompressPart(stored, header->part, SnapshotCodec::kZstdPlanes,
                        state);
}

}  // namespace chela
