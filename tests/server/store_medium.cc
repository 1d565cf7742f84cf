#include "tests/server/store_medium.h"

#include <filesystem>

#include "server/session/folder_store.h"
#include "tests/support/temp_dir.h"

namespace chela::test_support {
namespace {

class FolderMedium final : public StoreMedium {
 public:
  absl::StatusOr<std::unique_ptr<SnapshotStore>> Open() override {
    return OpenFolderStore(folder_.path());
  }
  size_t Items() override {
    size_t items = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             folder_.path() + "/sessions")) {
      items += entry.exists() ? 1 : 0;
    }
    return items;
  }

 private:
  TempDir folder_;
};

}  // namespace

std::unique_ptr<StoreMedium> MakeStoreMedium(const std::string& kind) {
  if (kind == "folder") return std::make_unique<FolderMedium>();
  return nullptr;
}

}  // namespace chela::test_support
