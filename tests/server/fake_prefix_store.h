#ifndef CHELA_TESTS_SERVER_FAKE_PREFIX_STORE_H_
#define CHELA_TESTS_SERVER_FAKE_PREFIX_STORE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/prefix_store.h"
#include "tests/server/engine_rig.h"

namespace chela::test_support {

inline constexpr int64_t kFileBytes = 1000;

// Does everything at once, unless it is told to hold reads back.
class FakePrefixStore : public PrefixStore {
 public:
  struct File {
    std::string salt;
    Tokens tokens;
    StateBytes state;
  };

  std::vector<Found> TakeFound() override {
    std::vector<Found> found;
    for (const auto& [key, file] : files_) {
      found.push_back({key, file.salt, file.tokens, kFileBytes});
    }
    return found;
  }
  void SetWake(std::function<void()> wake) override { wake_ = std::move(wake); }
  int64_t MaxBytes(std::string_view, size_t) const override {
    return kFileBytes;
  }
  bool Accepts() const override {
    const std::lock_guard lock(mutex_);
    return accepts_;
  }
  void Write(uint64_t key, std::string_view salt, Tokens tokens,
             StateBytes state) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(accepts_);
    EXPECT_EQ(files_.count(key), 0);
    files_[key] = {std::string(salt), std::move(tokens), std::move(state)};
    most_ = std::max(most_, files_.size());
    events_.push_back({EventKind::kWritten, key, kFileBytes, nullptr});
  }
  void Read(uint64_t key) override {
    const std::lock_guard lock(mutex_);
    ++reads_;
    if (holds_reads_) return;
    if (loses_ && reads_ % 3 == 0) files_.erase(key);
    const auto found = files_.find(key);
    events_.push_back(
        found == files_.end()
            ? Event{EventKind::kLost, key, 0, nullptr}
            : Event{EventKind::kRead, key, 0, found->second.state});
    wake_();
  }
  void Remove(uint64_t key) override {
    const std::lock_guard lock(mutex_);
    files_.erase(key);
  }
  std::vector<Event> TakeEvents() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }
  bool WaitIdle(std::chrono::steady_clock::time_point) override { return true; }

  void HoldReads(bool hold) {
    const std::lock_guard lock(mutex_);
    holds_reads_ = hold;
  }
  void Accept(bool accept) {
    const std::lock_guard lock(mutex_);
    accepts_ = accept;
  }
  void LoseEveryThird() {
    const std::lock_guard lock(mutex_);
    loses_ = true;
  }
  void LoseAll() {
    const std::lock_guard lock(mutex_);
    files_.clear();
  }
  size_t files() const {
    const std::lock_guard lock(mutex_);
    return files_.size();
  }
  size_t most() const {
    const std::lock_guard lock(mutex_);
    return most_;
  }
  int reads() const {
    const std::lock_guard lock(mutex_);
    return reads_;
  }
  std::set<Tokens> Texts() const {
    const std::lock_guard lock(mutex_);
    std::set<Tokens> texts;
    for (const auto& [key, file] : files_) texts.insert(file.tokens);
    return texts;
  }

 private:
  mutable std::mutex mutex_;
  std::function<void()> wake_;
  std::map<uint64_t, File> files_;
  std::vector<Event> events_;
  size_t most_ = 0;
  int reads_ = 0;
  bool holds_reads_ = false;
  bool loses_ = false;
  bool accepts_ = true;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_FAKE_PREFIX_STORE_H_
