#include "tests/support/temp_dir.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace chela::test_support {
namespace {

[[noreturn]] void Fail(const std::string& what, const std::string& path) {
  std::fprintf(stderr, "temp_dir: cannot %s %s: %s\n", what.c_str(),
               path.c_str(), std::strerror(errno));
  std::abort();
}

}  // namespace

TempDir::TempDir() {
  std::error_code error;
  const std::filesystem::path root =
      std::filesystem::temp_directory_path(error);
  path_ = (root / "chela_test_XXXXXX").string();
  if (error || mkdtemp(path_.data()) == nullptr) Fail("make", path_);
}

TempDir::TempDir(TempDir&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TempDir::~TempDir() {
  if (path_.empty()) return;
  std::error_code ignored;  // What is left behind harms no later test.
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::Write(const std::string& name,
                           std::string_view bytes) const {
  const std::string path = path_ + "/" + name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) Fail("write", path);
  return path;
}

}  // namespace chela::test_support
