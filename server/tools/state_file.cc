#include "server/tools/state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

namespace chela {
namespace {

bool Failed(const char* what, const std::string& path) {
  std::cerr << "chela-cli: cannot " << what << " \"" << path
            << "\": " << std::strerror(errno) << "\n";
  return false;
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(fd) == 0;
}

}  // namespace

bool ReadFile(const std::string& path, std::string* bytes) {
  std::ifstream file(path, std::ios::binary);
  bytes->assign(std::istreambuf_iterator<char>(file), {});
  return file.is_open() && !file.bad() ? true : Failed("read", path);
}

bool WriteFile(const std::string& path, std::string_view bytes) {
  const std::string fresh = path + ".part";
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                      S_IRUSR | S_IWUSR);
  if (fd < 0) return Failed("write", fresh);
  const bool written = WriteAll(fd, bytes);
  if (close(fd) != 0 || !written ||
      std::rename(fresh.c_str(), path.c_str()) != 0) {
    Failed("write", path);
    unlink(fresh.c_str());
    return false;
  }
  return true;
}

}  // namespace chela
