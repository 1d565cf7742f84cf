#include "server/session/prefix_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "server/session/prefix_file.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = PrefixStore::EventKind;

constexpr size_t kStateBytes = 4096;

StateBytes RandomState(uint32_t seed) {
  std::mt19937 random(seed);
  auto bytes = std::make_unique<std::byte[]>(kStateBytes);
  for (size_t i = 0; i < kStateBytes; ++i) {
    bytes[i] = static_cast<std::byte>(random());
  }
  return bytes;
}

bool Same(const StateBytes& a, const StateBytes& b) {
  return std::memcmp(a.get(), b.get(), kStateBytes) == 0;
}

class PrefixFolderTest : public ::testing::Test {
 protected:
  std::unique_ptr<PrefixStore> Open(const std::string& identity = "model") {
    auto store = OpenPrefixFolder({.folder = temp_.path() + "/cache",
                                   .identity = identity,
                                   .state_bytes = kStateBytes,
                                   .pause = std::chrono::milliseconds(200),
                                   .warn = [this](const std::string& line) {
                                     const std::lock_guard lock(mutex_);
                                     warnings_.push_back(line);
                                   }});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  static std::vector<PrefixStore::Event> Wait(PrefixStore& store) {
    EXPECT_TRUE(store.WaitIdle(Clock::now() + std::chrono::seconds(20)));
    return store.TakeEvents();
  }

  std::string PathOf(const std::string& key) const {
    return temp_.path() + "/cache/prefixes/" +
           std::string(16 - key.size(), '0') + key + ".prefix";
  }
  std::vector<std::string> Warnings() {
    const std::lock_guard lock(mutex_);
    return std::exchange(warnings_, {});
  }

  const test_support::TempDir temp_;

 private:
  std::mutex mutex_;
  std::vector<std::string> warnings_;
};

TEST_F(PrefixFolderTest, GivesBackWhatItWroteAndFindsItAgain) {
  const StateBytes first = RandomState(1);
  const StateBytes second = RandomState(2);
  int64_t bytes = 0;
  {
    const auto store = Open();
    EXPECT_THAT(store->TakeFound(), IsEmpty());
    store->Write(7, "salt", {1, 2, 3}, first);
    store->Write(30, "", {5}, second);
    const auto written = Wait(*store);
    ASSERT_THAT(written, SizeIs(2));
    EXPECT_EQ(written[0].kind, Kind::kWritten);
    EXPECT_EQ(written[0].key, 7);
    bytes = written[0].bytes;
    EXPECT_EQ(bytes, static_cast<int64_t>(fs::file_size(PathOf("7"))));
    EXPECT_LE(bytes, store->MaxBytes("salt", 3));
  }
  const auto store = Open();
  const auto found = store->TakeFound();
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].key, 7);
  EXPECT_EQ(found[0].salt, "salt");
  EXPECT_THAT(found[0].tokens, ElementsAre(1, 2, 3));
  EXPECT_EQ(found[0].bytes, bytes);
  EXPECT_EQ(found[1].key, 30);
  store->Read(30);
  store->Read(7);
  const auto read = Wait(*store);
  ASSERT_THAT(read, SizeIs(2));
  EXPECT_EQ(read[0].kind, Kind::kRead);
  EXPECT_TRUE(Same(read[0].state, second));
  EXPECT_TRUE(Same(read[1].state, first));
  store->Remove(7);
  Wait(*store);
  EXPECT_FALSE(fs::exists(PathOf("7")));
  EXPECT_THAT(Warnings(), IsEmpty());
}

TEST_F(PrefixFolderTest, IsForItsOwnerAloneAndForOneProcess) {
  const mode_t before = umask(0);
  const auto store = Open();
  store->Write(1, "", {1}, RandomState(1));
  Wait(*store);
  umask(before);
  struct stat facts {};
  ASSERT_EQ(stat(PathOf("1").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600);
  ASSERT_EQ(stat((temp_.path() + "/cache").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700);
  const auto second = OpenPrefixFolder(
      {.folder = temp_.path() + "/cache", .identity = "model"});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PrefixFolderTest, AnyDamageIsAMissAndRemovesTheFileWithALine) {
  Open()->TakeFound();
  const auto bytes =
      EncodePrefixFile({.identity = "model", .salt = "s", .tokens = {1, 2}},
                       {RandomState(3).get(), kStateBytes});
  ASSERT_TRUE(bytes.ok());
  std::mt19937 random(5);
  // Every byte of the head, some of the state's, and ends that are missing or
  // too many.
  std::vector<std::string> damaged = {*bytes + "x", bytes->substr(0, 31),
                                      bytes->substr(0, 60), ""};
  for (size_t at = 0; at < bytes->size(); at += at < 100 ? 1 : 97) {
    damaged.push_back(*bytes);
    damaged.back()[at] ^= static_cast<char>(1 + random() % 255);
  }
  for (size_t i = 0; i < damaged.size(); ++i) {
    SCOPED_TRACE(i);
    std::ofstream(PathOf("1"), std::ios::binary) << damaged[i];
    const auto store = Open();
    for (const PrefixStore::Found& found : store->TakeFound()) {
      store->Read(found.key);
    }
    for (const PrefixStore::Event& event : Wait(*store)) {
      EXPECT_EQ(event.kind, Kind::kLost);
    }
    EXPECT_FALSE(fs::exists(PathOf("1")));
    const auto lines = Warnings();
    ASSERT_THAT(lines, SizeIs(1));
    EXPECT_THAT(lines[0], HasSubstr(PathOf("1")));
  }
}

TEST_F(PrefixFolderTest, TakesNoOtherFileForOneItKnows) {
  const auto store = Open();
  store->Write(1, "", {1}, RandomState(1));
  store->Write(2, "", {2}, RandomState(2));
  Wait(*store);
  fs::copy_file(PathOf("2"), PathOf("1"), fs::copy_options::overwrite_existing);
  store->Read(1);
  EXPECT_EQ(Wait(*store)[0].kind, Kind::kLost);
  // Nor follows a link, nor waits for a pipe.
  const std::string elsewhere = temp_.path() + "/elsewhere";
  fs::rename(PathOf("2"), elsewhere);
  fs::create_symlink(elsewhere, PathOf("2"));
  store->Read(2);
  EXPECT_EQ(Wait(*store)[0].kind, Kind::kLost);
  EXPECT_TRUE(fs::exists(elsewhere));
  store->Write(3, "", {3}, RandomState(3));
  Wait(*store);
  fs::remove(PathOf("3"));
  ASSERT_EQ(mkfifo(PathOf("3").c_str(), 0600), 0);
  store->Read(3);
  EXPECT_EQ(Wait(*store)[0].kind, Kind::kLost);
  EXPECT_FALSE(fs::exists(PathOf("3")));
}

TEST_F(PrefixFolderTest, RemovesAnotherModelsFilesAndItsOwnRemains) {
  {
    const auto store = Open("another model");
    store->Write(1, "", {1}, RandomState(1));
    store->Write(2, "", {1}, RandomState(1));
    Wait(*store);
  }
  const std::string folder = temp_.path() + "/cache/prefixes/";
  for (const char* name : {"new.0000000000000009.prefix", "notes.txt",
                           "10.prefix", "000000000000000G.prefix"}) {
    std::ofstream(folder + name) << "x";
  }
  const auto store = Open();
  EXPECT_THAT(store->TakeFound(), IsEmpty());
  EXPECT_THAT(Warnings(), ElementsAre(HasSubstr("removing 2 files")));
  EXPECT_FALSE(fs::exists(PathOf("1")));
  EXPECT_FALSE(fs::exists(folder + "new.0000000000000009.prefix"));
  for (const char* name :
       {"notes.txt", "10.prefix", "000000000000000G.prefix"}) {
    EXPECT_TRUE(fs::exists(folder + name)) << name;
  }
}

TEST_F(PrefixFolderTest, AFullDiskIsSaidOnceAndPausesIt) {
  const auto store = Open();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {1024, before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  for (uint64_t key = 1; key <= 3; ++key) {
    store->Write(key, "", {1}, RandomState(1));
  }
  const auto events = Wait(*store);
  EXPECT_FALSE(store->Accepts());
  // Once more after the pause: still full, still one line.
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  EXPECT_TRUE(store->Accepts());
  store->Write(4, "", {1}, RandomState(1));
  Wait(*store);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  ASSERT_THAT(events, SizeIs(3));
  for (const auto& event : events) EXPECT_EQ(event.kind, Kind::kLost);
  EXPECT_THAT(Warnings(), SizeIs(1));
  EXPECT_TRUE(fs::is_empty(temp_.path() + "/cache/prefixes"));

  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  store->Write(5, "", {1}, RandomState(1));
  EXPECT_EQ(Wait(*store)[0].kind, Kind::kWritten);
  EXPECT_THAT(Warnings(), ElementsAre(HasSubstr("again")));
}

TEST_F(PrefixFolderTest, TakesOnlySoMuchAtOnceAndReadsWhatWaits) {
  auto opened = OpenPrefixFolder({.folder = temp_.path() + "/small",
                                  .identity = "model",
                                  .state_bytes = kStateBytes,
                                  .queue_bytes = 1});
  ASSERT_TRUE(opened.ok());
  PrefixStore& store = **opened;
  EXPECT_TRUE(store.Accepts());  // one, however small the queue
  for (uint64_t key = 1; key <= 50; ++key) {
    store.Write(key, "", {1}, RandomState(static_cast<uint32_t>(key)));
    store.Read(key);
  }
  size_t read = 0;
  for (const PrefixStore::Event& event : Wait(store)) {
    if (event.kind != Kind::kRead) continue;
    ++read;
    EXPECT_TRUE(
        Same(event.state, RandomState(static_cast<uint32_t>(event.key))));
  }
  EXPECT_EQ(read, 50);
  // What is removed before it was written never is.
  for (uint64_t key = 60; key <= 80; ++key) {
    store.Write(key, "", {1}, RandomState(1));
    store.Remove(key);
  }
  Wait(store);
  EXPECT_EQ(
      std::distance(fs::directory_iterator(temp_.path() + "/small/prefixes"),
                    fs::directory_iterator()),
      50);
}

}  // namespace
}  // namespace chela
