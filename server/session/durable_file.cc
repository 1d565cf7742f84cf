#include "server/session/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;
// No name in use begins so: a leftover is told by it.
constexpr std::string_view kTemporary = "new.";

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

// 0 or an errno.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// Writes a new file; 0 or an errno. `force`: to the disk.
int WriteNew(const std::string& path, std::string_view bytes, bool force) {
  File file(open(path.c_str(),
                 O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                 kFileMode));
  if (!file.valid()) return errno;
  if (const int error = WriteAll(file.get(), bytes); error != 0) return error;
  if (force && fsync(file.get()) != 0) return errno;
  return file.Close() == 0 ? 0 : errno;
}

std::string Unpublished(const std::string& directory, const std::string& name) {
  return absl::StrCat(directory, "/", std::string(kTemporary), name);
}

}  // namespace

absl::Status FileStatus(int error, std::string_view doing,
                        const std::string& path) {
  const std::string message =
      absl::StrCat(std::string(doing), " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    case ENOENT:
      return absl::NotFoundError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<StagedFile> StagedFile::Write(const std::string& directory,
                                             const std::string& name,
                                             std::string_view bytes) {
  StagedFile file(directory, Unpublished(directory, name),
                  absl::StrCat(directory, "/", name));
  const int error = WriteNew(file.temporary_, bytes, /*force=*/true);
  if (error != 0) return FileStatus(error, "write", file.path_);
  return file;
}

StagedFile::StagedFile(std::string directory, std::string temporary,
                       std::string path)
    : directory_(std::move(directory)),
      temporary_(std::move(temporary)),
      path_(std::move(path)) {}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      temporary_(std::exchange(other.temporary_, {})),
      path_(std::move(other.path_)) {}

StagedFile::~StagedFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status StagedFile::Publish() {
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return FileStatus(errno, "rename", path_);
  }
  temporary_.clear();
  return SyncDirectory(directory_);
}

absl::Status WriteWholeFile(const std::string& directory,
                            const std::string& name, std::string_view bytes) {
  const std::string temporary = Unpublished(directory, name);
  const std::string path = absl::StrCat(directory, "/", name);
  int error = WriteNew(temporary, bytes, /*force=*/false);
  if (error == 0 && rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return FileStatus(error, "write", path);
}

bool IsUnpublished(std::string_view name) {
  return name.substr(0, kTemporary.size()) == kTemporary;
}

absl::StatusOr<FileStart> ReadFileStart(const std::string& path,
                                        int64_t bytes) {
  // A pipe in its place must not hold us.
  const File file(
      open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.valid()) return FileStatus(errno, "open", path);
  struct stat facts;
  if (fstat(file.get(), &facts) != 0) return FileStatus(errno, "stat", path);
  if (!S_ISREG(facts.st_mode)) {
    return absl::DataLossError(absl::StrCat(path, ": no regular file"));
  }
  FileStart start;
  start.file_bytes = facts.st_size;
  start.bytes.resize(
      static_cast<size_t>(std::min<int64_t>(bytes, facts.st_size)));
  size_t read_bytes = 0;
  while (read_bytes < start.bytes.size()) {
    const ssize_t got = read(file.get(), start.bytes.data() + read_bytes,
                             start.bytes.size() - read_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileStatus(errno, "read", path);
    if (got == 0) break;
    read_bytes += static_cast<size_t>(got);
  }
  start.bytes.resize(read_bytes);
  return start;
}

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes) {
  absl::StatusOr<FileStart> whole = ReadFileStart(path, max_bytes);
  if (!whole.ok()) return whole.status();
  if (whole->file_bytes > max_bytes) {
    return absl::DataLossError(absl::StrCat(path, ": ", whole->file_bytes,
                                            " bytes; want ", max_bytes));
  }
  return std::move(whole->bytes);
}

absl::Status MakeDirectory(const std::string& path) {
  const std::filesystem::path whole(path);
  if (whole.has_parent_path()) {
    std::error_code error;
    std::filesystem::create_directories(whole.parent_path(), error);
    if (error) return FileStatus(error.value(), "make", path);
  }
  if (mkdir(path.c_str(), kDirectoryMode) == 0) {
    return whole.has_parent_path() ? SyncDirectory(whole.parent_path().string())
                                   : absl::OkStatus();
  }
  const int error = errno;
  std::error_code ignored;
  if (error == EEXIST && std::filesystem::is_directory(whole, ignored)) {
    return absl::OkStatus();
  }
  return FileStatus(error, "make", path);
}

absl::Status MakeOwnDirectory(const std::string& path) {
  CHELA_RETURN_IF_ERROR(MakeDirectory(path));
  struct stat facts;
  if (lstat(path.c_str(), &facts) != 0) return FileStatus(errno, "stat", path);
  if (S_ISDIR(facts.st_mode) && (facts.st_mode & S_IWOTH) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      path, ": ",
      S_ISDIR(facts.st_mode) ? "everybody may write there" : "a link",
      "; want a folder of this user's own"));
}

absl::Status SyncDirectory(const std::string& directory) {
  const File file(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.valid()) return FileStatus(errno, "open", directory);
  if (fsync(file.get()) != 0) return FileStatus(errno, "sync", directory);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()),
                                                   &closedir);
  if (stream == nullptr) return FileStatus(errno, "list", directory);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return FileStatus(errno, "list", directory);
  return names;
}

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return FileStatus(errno, "remove", path);
}

}  // namespace chela
