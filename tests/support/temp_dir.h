#ifndef CHELA_TESTS_SUPPORT_TEMP_DIR_H_
#define CHELA_TESTS_SUPPORT_TEMP_DIR_H_

#include <string>
#include <string_view>

namespace chela::test_support {

// A fresh folder below the system's temporary folder, removed with everything
// in it by the destructor. A failure to make it or to write ends the test run.
class TempDir {
 public:
  TempDir();
  TempDir(TempDir&& other) noexcept;
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();

  const std::string& path() const { return path_; }
  // The path of `name` inside, after writing `bytes` there.
  std::string Write(const std::string& name, std::string_view bytes) const;

 private:
  std::string path_;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SUPPORT_TEMP_DIR_H_
