#include "tests/server/store_medium.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "server/session/folder_store.h"
#include "tests/server/redis_process.h"
#include "tests/support/temp_dir.h"

namespace chela::test_support {
namespace {

class FolderMedium final : public StoreMedium {
 public:
  absl::StatusOr<std::unique_ptr<SnapshotStore>> Open() override {
    return OpenFolderStore(folder_.path());
  }
  std::string Where() override { return folder_.path(); }
  size_t ItemsOfASession() override { return 2; }  // its folder, its record
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

class RedisMedium final : public StoreMedium {
 public:
  explicit RedisMedium(std::unique_ptr<RedisProcess> process)
      : process_(std::move(process)) {}
  absl::StatusOr<std::unique_ptr<SnapshotStore>> Open() override {
    return OpenRedisStore(process_->options());
  }
  std::string Where() override { return process_->url(); }
  size_t ItemsOfASession() override { return 1; }
  // Fields of the hashes of sessions and snapshots.
  size_t Items() override {
    auto connection = RedisConnection::Open(process_->options().address,
                                            std::chrono::seconds(5));
    size_t items = 0;
    const auto keys = (*connection)->Call({"KEYS", "*"});
    for (const RedisReply& key : keys->items) {
      if (key.text == "chela:lock") continue;
      const auto length = (*connection)->Call({"HLEN", key.text});
      items += static_cast<size_t>(length->integer);
    }
    return items;
  }

 private:
  std::unique_ptr<RedisProcess> process_;
};

}  // namespace

std::unique_ptr<StoreMedium> MakeStoreMedium(const std::string& kind) {
  if (kind == "folder") return std::make_unique<FolderMedium>();
  std::unique_ptr<RedisProcess> process = RedisProcess::Start();
  if (process != nullptr) {
    return std::make_unique<RedisMedium>(std::move(process));
  }
  EXPECT_EQ(std::getenv("CHELA_REQUIRE_REDIS"), nullptr) << "no redis-server";
  return nullptr;
}

}  // namespace chela::test_support
