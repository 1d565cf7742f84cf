#include "server/session/redis_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/server/redis_process.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using test_support::RedisProcess;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using Code = absl::StatusCode;
using Clock = std::chrono::steady_clock;

class RedisStoreTest : public ::testing::Test {
 protected:
  // False, and the test is skipped or failed, without a redis-server.
  bool Start(const std::vector<std::string>& arguments = {}) {
    process_ = RedisProcess::Start(arguments);
    if (process_ == nullptr) {
      EXPECT_EQ(std::getenv("CHELA_REQUIRE_REDIS"), nullptr);
    }
    return process_ != nullptr;
  }
  std::unique_ptr<SnapshotStore> Opened(const RedisStoreOptions& options) {
    auto store = OpenRedisStore(options);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  RedisReply Ask(const std::vector<std::string_view>& command) {
    auto connection = RedisConnection::Open(process_->options().address,
                                            std::chrono::seconds(5));
    EXPECT_TRUE(connection.ok()) << connection.status();
    auto reply = (*connection)->Call(command);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.value_or(RedisReply());
  }
  static SessionRecord Record(const std::string& id = "a") {
    SessionRecord record;
    record.id = id;
    record.next_key = 2;
    record.next_revision = 2;
    record.revisions = {{1, {1, 1, 1, 5}}};
    return record;
  }
  const NewSnapshot snapshot_ = {1, "first"};
  std::unique_ptr<RedisProcess> process_;
};

TEST_F(RedisStoreTest, ComesBackAfterALostConnection) {
  if (!Start()) GTEST_SKIP();
  const auto store = Opened(process_->options());
  ASSERT_TRUE(store->Write(Record(), &snapshot_).ok());
  Ask({"CLIENT", "KILL", "TYPE", "normal"});
  EXPECT_EQ(*store->Read("a", {1, 1, 1, 5}), "first");
  Ask({"CLIENT", "KILL", "TYPE", "normal"});
  EXPECT_TRUE(store->Write(Record(), nullptr).ok());
}

TEST_F(RedisStoreTest, IsUnavailableWhenTheServerIsGoneAndWaitsNoLonger) {
  if (!Start()) GTEST_SKIP();
  const auto store = Opened(process_->options());
  process_->Stop();
  const Clock::time_point begin = Clock::now();
  EXPECT_EQ(store->Write(Record(), &snapshot_).code(), Code::kUnavailable);
  EXPECT_EQ(store->Read("a", {1, 1, 1, 5}).status().code(), Code::kUnavailable);
  EXPECT_EQ(store->Delete("a").code(), Code::kUnavailable);
  EXPECT_EQ(OpenRedisStore(process_->options()).status().code(),
            Code::kUnavailable);
  EXPECT_LT(Clock::now() - begin, 4 * 3 * process_->options().patience);
}

TEST_F(RedisStoreTest, WaitsForAServerThatComesBack) {
  if (!Start()) GTEST_SKIP();
  RedisStoreOptions options = process_->options();
  options.patience = std::chrono::seconds(20);
  const auto store = Opened(options);
  process_->Stop();
  std::thread later([this] {
    std::this_thread::sleep_for(milliseconds(300));
    process_->Restart();
  });
  // It has forgotten who holds the lock: this server must not go on as if
  // nobody else could have begun.
  EXPECT_EQ(store->Write(Record(), &snapshot_).code(),
            Code::kFailedPrecondition);
  later.join();
}

TEST_F(RedisStoreTest, GivesUpOnAServerThatDoesNotAnswer) {
  if (!Start()) GTEST_SKIP();
  const auto store = Opened(process_->options());
  Ask({"CLIENT", "PAUSE", "30000", "ALL"});
  const Clock::time_point begin = Clock::now();
  const absl::Status late = store->Write(Record(), &snapshot_);
  EXPECT_EQ(late.code(), Code::kUnavailable);
  EXPECT_EQ(late.message(), "redis: no answer in time");
  EXPECT_LT(Clock::now() - begin,
            3 * process_->options().patience + milliseconds(500));
}

TEST_F(RedisStoreTest, AcknowledgesNothingWithoutMemory) {
  if (!Start({"--maxmemory-policy", "noeviction"})) GTEST_SKIP();
  const auto store = Opened(process_->options());
  ASSERT_TRUE(store->Write(Record(), &snapshot_).ok());
  Ask({"CONFIG", "SET", "maxmemory", "1"});
  SessionRecord next = Record();
  next.next_key = 3;
  next.revisions[0].state.key = 2;
  const NewSnapshot second = {2, "second"};
  const absl::Status status = store->Write(next, &second);
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  Ask({"CONFIG", "SET", "maxmemory", "0"});
  const auto contents = store->Load();
  ASSERT_TRUE(contents.ok());
  ASSERT_THAT(contents->sessions, SizeIs(1));
  EXPECT_EQ(contents->sessions[0], Record());
  EXPECT_EQ(Ask({"HLEN", "chela:snapshots:a"}).integer, 1);
}

TEST_F(RedisStoreTest, CannotWriteOnceAnotherHasTheLock) {
  if (!Start()) GTEST_SKIP();
  const auto store = Opened(process_->options());
  ASSERT_TRUE(store->Write(Record(), &snapshot_).ok());
  Ask({"SET", "chela:lock", "chela-usurper"});
  const absl::Status status = store->Write(Record("b"), nullptr);
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("chela-usurper"));
  EXPECT_EQ(store->Delete("a").code(), Code::kFailedPrecondition);
  EXPECT_EQ(Ask({"HLEN", "chela:sessions"}).integer, 1);
}

TEST_F(RedisStoreTest, TakesOverFromAServerThatDied) {
  if (!Start()) GTEST_SKIP();
  Ask({"SET", "chela:lock", "chela-1-dead"});
  const auto store = Opened(process_->options());
  EXPECT_THAT(Ask({"GET", "chela:lock"}).text, Not(HasSubstr("dead")));
}

TEST_F(RedisStoreTest, KeepsPrefixesAndDatabasesApart) {
  if (!Start()) GTEST_SKIP();
  RedisStoreOptions options = process_->options();
  const auto one = Opened(options);
  options.prefix = "other:";
  const auto two = Opened(options);
  options.address.database = 3;
  const auto three = Opened(options);
  ASSERT_TRUE(one->Write(Record("a"), &snapshot_).ok());
  ASSERT_TRUE(two->Write(Record("b"), &snapshot_).ok());
  for (SnapshotStore* store : {one.get(), two.get()}) {
    EXPECT_THAT(store->Load()->sessions, SizeIs(1));
  }
  EXPECT_THAT(three->Load()->sessions, SizeIs(0));
}

TEST_F(RedisStoreTest, AsksForTheRightPassword) {
  if (!Start({"--requirepass", "s3 cret"})) GTEST_SKIP();
  RedisStoreOptions options = process_->options();
  EXPECT_EQ(OpenRedisStore(options).status().code(), Code::kFailedPrecondition);
  options.address.password = "wrong";
  const absl::Status status = OpenRedisStore(options).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.message(), Not(HasSubstr("wrong ")));
  options.address.password = "s3 cret";
  EXPECT_NE(Opened(options), nullptr);
}

TEST_F(RedisStoreTest, ListsManySessions) {
  if (!Start()) GTEST_SKIP();
  {
    const auto store = Opened(process_->options());
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(store->Write(Record(absl::StrCat("s", i)), nullptr).ok());
    }
  }
  const auto store = Opened(process_->options());
  EXPECT_THAT(store->Load()->sessions, SizeIs(1000));
  Ask({"HSET", "chela:sessions", "s1", "{"});
  const auto contents = store->Load();
  EXPECT_THAT(contents->sessions, SizeIs(999));
  EXPECT_THAT(contents->damaged, SizeIs(1));
}

TEST(RedisAddressTest, ReadsUrls) {
  const auto parse = [](const std::string& url) {
    const auto address = RedisAddress::Parse(url);
    EXPECT_TRUE(address.ok()) << url << ": " << address.status();
    return address.value_or(RedisAddress());
  };
  EXPECT_EQ(parse("redis://localhost").Name(), "redis localhost:6379/0");
  EXPECT_EQ(parse("redis://h:1/2").Name(), "redis h:1/2");
  EXPECT_EQ(parse("redis://h/").database, 0);
  EXPECT_EQ(parse("redis://[::1]:7").host, "::1");
  EXPECT_EQ(parse("redis://[::1]").port, 6379);
  RedisAddress address = parse("redis://me:p%40ss%2Fword@h:1/2");
  EXPECT_EQ(address.user, "me");
  EXPECT_EQ(address.password, "p@ss/word");
  EXPECT_EQ(address.host, "h");
  EXPECT_EQ(address.Name(), "redis h:1/2");
  EXPECT_EQ(parse("redis://:secret@h").password, "secret");
  EXPECT_EQ(parse("unix:///run/a@b.sock").socket, "/run/a@b.sock");
  EXPECT_EQ(parse("unix://:pw@/s").password, "pw");
}

TEST(RedisAddressTest, RefusesWhatIsNone) {
  for (const std::string url :
       {"", "h:1", "http://h", "rediss://h", "redis://", "redis://h:0",
        "redis://h:x", "redis://h:70000", "redis://h/x", "redis://h/-1",
        "redis://user@h", "redis://:p%4@h", "redis://:p%@h", "unix://",
        "unix://relative"}) {
    EXPECT_EQ(RedisAddress::Parse(url).status().code(), Code::kInvalidArgument)
        << url;
  }
  EXPECT_THAT(RedisAddress::Parse("redis://:secret@h:x").status().message(),
              Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace chela
