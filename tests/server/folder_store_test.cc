#include "server/session/folder_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace chela {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Code = absl::StatusCode;

std::unique_ptr<SnapshotStore> Opened(const std::string& folder) {
  auto store = OpenFolderStore(folder);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

SessionRecord RecordWith(int64_t key, int64_t bytes) {
  SessionRecord record;
  record.id = "a";
  record.next_key = key + 1;
  record.next_revision = 2;
  record.revisions = {{1, {key, 1, 1, bytes}}};
  return record;
}

int Mode(const std::string& path) {
  struct stat facts {};
  EXPECT_EQ(stat(path.c_str(), &facts), 0) << path;
  return static_cast<int>(facts.st_mode & 0777);
}

size_t Files(const std::string& folder) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  return files;
}

TEST(FolderStoreTest, IsForItsOwnerAlone) {
  const test_support::TempDir temp;
  const std::string folder = temp.path() + "/deep/er";
  const mode_t before = umask(0);
  const auto store = Opened(folder);
  const NewSnapshot snapshot = {1, "bytes"};
  EXPECT_TRUE(store->Write(RecordWith(1, 5), &snapshot).ok());
  umask(before);
  EXPECT_EQ(Mode(folder), 0700);
  EXPECT_EQ(Mode(folder + "/sessions"), 0700);
  EXPECT_EQ(Mode(folder + "/sessions/s_a"), 0700);
  EXPECT_EQ(Mode(folder + "/sessions/s_a/record.json"), 0600);
  EXPECT_EQ(Mode(folder + "/sessions/s_a/1.snapshot"), 0600);
  EXPECT_EQ(Mode(folder + "/lock"), 0600);
}

TEST(FolderStoreTest, NamesTheServerThatHasTheFolder) {
  const test_support::TempDir temp;
  const auto store = Opened(temp.path());
  const absl::Status second = OpenFolderStore(temp.path()).status();
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr(temp.path()));
  EXPECT_THAT(second.message(), HasSubstr(std::to_string(getpid())));
}

TEST(FolderStoreTest, SaysWhyAFolderCannotBeUsed) {
  const test_support::TempDir temp;
  const std::string file = temp.Write("file", "");
  for (const std::string& path : {file, file + "/below"}) {
    const absl::Status status = OpenFolderStore(path).status();
    EXPECT_EQ(status.code(), Code::kUnavailable) << status;
    EXPECT_THAT(status.message(), HasSubstr(path));
  }
}

TEST(FolderStoreTest, TakesNoFolderThatOthersMayHaveAHandIn) {
  const test_support::TempDir temp;
  const std::string sessions = temp.path() + "/sessions";
  fs::create_directory(temp.path() + "/elsewhere");
  fs::create_symlink(temp.path() + "/elsewhere", sessions);
  const absl::Status link = OpenFolderStore(temp.path()).status();
  EXPECT_EQ(link.code(), Code::kFailedPrecondition) << link;
  EXPECT_THAT(link.message(), HasSubstr(sessions));
  fs::remove(sessions);
  fs::create_directory(sessions);
  fs::permissions(sessions, fs::perms::all);
  EXPECT_EQ(OpenFolderStore(temp.path()).status().code(),
            Code::kFailedPrecondition);
  fs::permissions(sessions, fs::perms::owner_all);
  EXPECT_TRUE(OpenFolderStore(temp.path()).ok());
}

TEST(FolderStoreTest, AcknowledgesNothingOnAFullDisk) {
  const test_support::TempDir temp;
  const auto store = Opened(temp.path());
  const NewSnapshot first = {1, "first"};
  ASSERT_TRUE(store->Write(RecordWith(1, 5), &first).ok());
  const size_t files = Files(temp.path());

  // The disk ends a file at 16 KiB.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {16384, before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const NewSnapshot big = {2, std::string(100000, 'x')};
  const absl::Status written = store->Write(RecordWith(2, 100000), &big);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);

  EXPECT_EQ(written.code(), Code::kResourceExhausted) << written;
  EXPECT_EQ(Files(temp.path()), files);  // no remains either
  const auto contents = store->Load();
  ASSERT_TRUE(contents.ok());
  ASSERT_THAT(contents->sessions, SizeIs(1));
  EXPECT_EQ(contents->sessions[0], RecordWith(1, 5));
  EXPECT_EQ(*store->Read("a", {1, 1, 1, 5}), "first");
}

TEST(FolderStoreTest, SweepsWhatACrashLeft) {
  const test_support::TempDir temp;
  const std::string sessions = temp.path() + "/sessions";
  {
    const auto store = Opened(temp.path());
    const NewSnapshot first = {1, "first"};
    ASSERT_TRUE(store->Write(RecordWith(1, 5), &first).ok());
  }
  const size_t files = Files(temp.path());
  const auto leave = [](const std::string& path) {
    std::ofstream(path) << "half";
  };
  leave(sessions + "/s_a/new.2.snapshot");
  leave(sessions + "/s_a/new.record.json");
  leave(sessions + "/s_a/2.snapshot");
  fs::create_directory(sessions + "/s_unfinished");
  leave(sessions + "/s_unfinished/1.snapshot");
  fs::create_directory(sessions + "/s_empty");
  const auto store = Opened(temp.path());
  const auto contents = store->Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->sessions, SizeIs(1));
  EXPECT_EQ(Files(temp.path()), files);
  EXPECT_FALSE(fs::exists(sessions + "/s_unfinished"));
  EXPECT_FALSE(fs::exists(sessions + "/s_empty"));
}

TEST(FolderStoreTest, LeavesAloneWhatIsNotItsOwn) {
  const test_support::TempDir temp;
  const std::string sessions = temp.path() + "/sessions";
  Opened(temp.path());
  fs::create_directory(sessions + "/other");
  fs::create_directory(sessions + "/s_ no id");
  std::ofstream(sessions + "/other/file") << "x";
  // A link in the place of a snapshot is not followed.
  const std::string secret = temp.Write("secret", "12345");
  {
    const auto store = Opened(temp.path());
    ASSERT_TRUE(store->Write(RecordWith(1, 5), nullptr).ok());
    fs::create_symlink(secret, sessions + "/s_a/1.snapshot");
    EXPECT_FALSE(store->Read("a", {1, 1, 1, 5}).ok());
  }
  const auto store = Opened(temp.path());
  EXPECT_TRUE(store->Load().ok());
  EXPECT_TRUE(fs::exists(sessions + "/other/file"));
  EXPECT_TRUE(fs::exists(sessions + "/s_ no id"));
}

TEST(FolderStoreTest, ReportsADamagedRecordAndKeepsItsFiles) {
  const test_support::TempDir temp;
  {
    const auto store = Opened(temp.path());
    const NewSnapshot first = {1, "first"};
    ASSERT_TRUE(store->Write(RecordWith(1, 5), &first).ok());
  }
  std::ofstream(temp.path() + "/sessions/s_a/record.json") << "{";
  const auto store = Opened(temp.path());
  const auto contents = store->Load();
  ASSERT_TRUE(contents.ok());
  ASSERT_THAT(contents->damaged, SizeIs(1));
  EXPECT_EQ(contents->damaged[0].first, "a");
  EXPECT_EQ(contents->damaged[0].second.code(), Code::kDataLoss);
  EXPECT_TRUE(fs::exists(temp.path() + "/sessions/s_a/1.snapshot"));
  EXPECT_TRUE(store->Delete("a").ok());
  EXPECT_FALSE(fs::exists(temp.path() + "/sessions/s_a"));
}

}  // namespace
}  // namespace chela
