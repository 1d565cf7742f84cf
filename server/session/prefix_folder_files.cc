#include "server/session/prefix_folder_files.h"

#include <algorithm>
#include <charconv>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/session/durable_file.h"

namespace chela {
namespace {

constexpr std::string_view kSuffix = ".prefix";
constexpr size_t kDigits = 16;
constexpr size_t kMaxSaltBytes = 4096;

std::string FileName(uint64_t key) {
  return absl::StrFormat("%016x%s", key, std::string(kSuffix));
}

std::optional<uint64_t> KeyOf(std::string_view name) {
  uint64_t key = 0;
  if (name.size() != kDigits + kSuffix.size() ||
      name.substr(kDigits) != kSuffix) {
    return std::nullopt;
  }
  const auto [end, error] =
      std::from_chars(name.data(), name.data() + kDigits, key, 16);
  if (error != std::errc() || end != name.data() + kDigits || key == 0 ||
      FileName(key) != name) {
    return std::nullopt;
  }
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrefixFolderFiles>> PrefixFolderFiles::Open(
    const std::string& folder, const std::string& identity, int64_t state_bytes,
    std::function<void(const std::string&)> warn) {
  CHELA_RETURN_IF_ERROR(MakeDirectory(folder));
  absl::StatusOr<std::unique_ptr<FolderLock>> lock = FolderLock::Take(folder);
  if (!lock.ok()) return lock.status();
  const std::string files = absl::StrCat(folder, "/prefixes");
  CHELA_RETURN_IF_ERROR(MakeOwnDirectory(files));
  return std::unique_ptr<PrefixFolderFiles>(new PrefixFolderFiles(
      files, identity, state_bytes, std::move(warn), *std::move(lock)));
}

PrefixFolderFiles::PrefixFolderFiles(
    std::string folder, std::string identity, int64_t state_bytes,
    std::function<void(const std::string&)> warn,
    std::unique_ptr<FolderLock> lock)
    : folder_(std::move(folder)),
      identity_(std::move(identity)),
      state_bytes_(state_bytes),
      warn_(std::move(warn)),
      lock_(std::move(lock)) {}

std::string PrefixFolderFiles::Path(uint64_t key) const {
  return absl::StrCat(folder_, "/", FileName(key));
}

absl::StatusOr<std::vector<PrefixStore::Found>> PrefixFolderFiles::Scan() {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(folder_);
  if (!names.ok()) return names.status();
  std::vector<PrefixStore::Found> found;
  int64_t others = 0;
  for (const std::string& name : *names) {
    if (IsUnpublished(name) && name.ends_with(kSuffix)) {
      RemoveFile(absl::StrCat(folder_, "/", name)).IgnoreError();
    }
    const std::optional<uint64_t> key = KeyOf(name);
    if (!key.has_value()) continue;
    absl::StatusOr<PrefixStore::Found> head = ReadHead(*key);
    if (head.ok()) {
      found.push_back(*std::move(head));
      continue;
    }
    if (absl::IsFailedPrecondition(head.status())) {
      ++others;
    } else {
      warn_(
          absl::StrCat("removing ", Path(*key), ": ", head.status().message()));
    }
    Remove(*key);
  }
  if (others > 0) {
    warn_(absl::StrCat("removing ", others, " files of ", folder_,
                       ": of another model, device or build"));
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  return found;
}

absl::StatusOr<PrefixStore::Found> PrefixFolderFiles::ReadHead(uint64_t key) {
  absl::StatusOr<FileStart> start =
      ReadFileStart(Path(key), kPrefixPrologueBytes);
  if (!start.ok()) return start.status();
  const absl::StatusOr<PrefixPrologue> prologue =
      ReadPrefixPrologue(start->bytes);
  if (!prologue.ok()) return prologue.status();
  if (static_cast<uint64_t>(start->file_bytes) != prologue->file_bytes) {
    return absl::DataLossError(absl::StrCat(
        start->file_bytes, " bytes; it says ", prologue->file_bytes));
  }
  start =
      ReadFileStart(Path(key), kPrefixPrologueBytes + prologue->header_bytes);
  if (!start.ok()) return start.status();
  absl::StatusOr<PrefixFileHead> head = ReadPrefixHead(start->bytes);
  if (!head.ok()) return head.status();
  if (head->identity != identity_) {
    return absl::FailedPreconditionError("another's");
  }
  checksums_[key] = prologue->checksum;
  return PrefixStore::Found{.key = key,
                            .salt = std::move(head->salt),
                            .tokens = std::move(head->tokens),
                            .bytes = start->file_bytes};
}

absl::StatusOr<int64_t> PrefixFolderFiles::Write(uint64_t key,
                                                 PrefixFileHead head,
                                                 const StateBytes& state) {
  head.identity = identity_;
  const absl::StatusOr<std::string> bytes =
      EncodePrefixFile(head, {state.get(), static_cast<size_t>(state_bytes_)});
  if (!bytes.ok()) return bytes.status();
  CHELA_RETURN_IF_ERROR(WriteWholeFile(folder_, FileName(key), *bytes));
  checksums_[key] = ReadPrefixPrologue(*bytes)->checksum;
  return static_cast<int64_t>(bytes->size());
}

absl::StatusOr<StateBytes> PrefixFolderFiles::Read(uint64_t key) {
  const auto read = [&]() -> absl::StatusOr<StateBytes> {
    const absl::StatusOr<std::string> bytes = ReadFile(
        Path(key),
        MaxPrefixFileBytes(identity_.size(), kMaxSaltBytes, kMaxPrefixTokens,
                           static_cast<size_t>(state_bytes_)));
    if (!bytes.ok()) return bytes.status();
    const absl::StatusOr<PrefixPrologue> prologue = ReadPrefixPrologue(*bytes);
    if (!prologue.ok()) return prologue.status();
    if (checksums_.count(key) == 0 || prologue->checksum != checksums_[key]) {
      return absl::DataLossError("prefix: it is another file than before");
    }
    const auto size = static_cast<size_t>(state_bytes_);
    std::unique_ptr<std::byte[]> state(new (std::nothrow) std::byte[size]);
    if (state == nullptr) return absl::ResourceExhaustedError("no memory");
    CHELA_RETURN_IF_ERROR(ReadPrefixState(*bytes, {state.get(), size}));
    return StateBytes(std::move(state));
  };
  absl::StatusOr<StateBytes> state = read();
  if (!state.ok()) {
    warn_(absl::StrCat("removing ", Path(key), ": ", state.status().message()));
    Remove(key);
  }
  return state;
}

void PrefixFolderFiles::Remove(uint64_t key) {
  checksums_.erase(key);
  // What can't be removed is found, or removed, at the next start.
  RemoveFile(Path(key)).IgnoreError();
}

}  // namespace chela
