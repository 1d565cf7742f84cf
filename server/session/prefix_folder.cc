#include "server/session/prefix_folder.h"

#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/session/prefix_folder_files.h"

namespace chela {
namespace {

using Clock = std::chrono::steady_clock;

class PrefixFolder final : public PrefixStore {
 public:
  PrefixFolder(PrefixFolderOptions options,
               std::unique_ptr<PrefixFolderFiles> files,
               std::vector<Found> found)
      : options_(std::move(options)),
        files_(std::move(files)),
        found_(std::move(found)),
        thread_([this] { Loop(); }) {}

  ~PrefixFolder() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_one();
    thread_.join();
  }

  std::vector<Found> TakeFound() override { return std::exchange(found_, {}); }

  void SetWake(std::function<void()> wake) override {
    const std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }

  int64_t MaxBytes(std::string_view salt, size_t tokens) const override {
    if (tokens > kMaxPrefixTokens) return std::numeric_limits<int64_t>::max();
    return MaxPrefixFileBytes(options_.identity.size(), salt.size(), tokens,
                              static_cast<size_t>(options_.state_bytes));
  }

  bool Accepts() const override {
    const std::lock_guard lock(mutex_);
    return Clock::now() >= paused_until_ &&
           (writes_.empty() ||
            static_cast<int64_t>(writes_.size() + 1) * options_.state_bytes <=
                options_.queue_bytes);
  }

  void Write(uint64_t key, std::string_view salt, std::vector<int32_t> tokens,
             StateBytes state) override {
    Enqueue([&] {
      writes_.push_back({key,
                         {.identity = {},
                          .salt = std::string(salt),
                          .tokens = std::move(tokens)},
                         std::move(state)});
    });
  }

  void Read(uint64_t key) override {
    Enqueue([&] {
      for (const PendingWrite& write : writes_) {
        if (write.key != key) continue;
        events_.push_back({EventKind::kRead, key, 0, write.state});
        // The caller is the one to be woken: it looks for events anyway.
        if (wake_) wake_();
        return;
      }
      reads_.push_back(key);
    });
  }

  void Remove(uint64_t key) override {
    Enqueue([&] { removals_.push_back(key); });
  }

  std::vector<Event> TakeEvents() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

  bool WaitIdle(Clock::time_point deadline) override {
    std::unique_lock lock(mutex_);
    return idle_.wait_until(lock, deadline, [this] { return !Busy(); });
  }

 private:
  struct PendingWrite {
    uint64_t key = 0;
    PrefixFileHead head;
    StateBytes state;
  };

  template <typename Change>
  void Enqueue(const Change& change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    work_.notify_one();
  }

  // With the mutex.
  bool Busy() const {
    return working_ || !removals_.empty() || !reads_.empty() ||
           !writes_.empty();
  }

  void Loop() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (!Busy()) {
        idle_.notify_all();
        work_.wait(lock);
        continue;
      }
      working_ = true;
      // Room first, then those who wait.
      if (!removals_.empty()) {
        RemoveOne(lock);
      } else if (!reads_.empty()) {
        ReadOne(lock);
      } else {
        WriteOne(lock);
      }
      working_ = false;
    }
  }

  void RemoveOne(std::unique_lock<std::mutex>& lock) {
    const uint64_t key = removals_.front();
    removals_.pop_front();
    std::erase_if(writes_, [key](const auto& one) { return one.key == key; });
    lock.unlock();
    files_->Remove(key);
    lock.lock();
  }

  void ReadOne(std::unique_lock<std::mutex>& lock) {
    const uint64_t key = reads_.front();
    reads_.pop_front();
    lock.unlock();
    absl::StatusOr<StateBytes> state = files_->Read(key);
    lock.lock();
    Tell(state.ok() ? Event{EventKind::kRead, key, 0, *std::move(state)}
                    : Event{EventKind::kLost, key, 0, nullptr});
  }

  void WriteOne(std::unique_lock<std::mutex>& lock) {
    // It stays in the queue meanwhile, for Read.
    const PendingWrite write = writes_.front();
    const bool paused = Clock::now() < paused_until_;
    lock.unlock();
    absl::StatusOr<int64_t> bytes = absl::UnavailableError("paused");
    if (!paused) bytes = files_->Write(write.key, write.head, write.state);
    lock.lock();
    writes_.pop_front();
    if (!paused) NoteHealth(bytes.status());
    Tell(bytes.ok() ? Event{EventKind::kWritten, write.key, *bytes, nullptr}
                    : Event{EventKind::kLost, write.key, 0, nullptr});
  }

  void NoteHealth(const absl::Status& written) {
    if (!written.ok()) {
      paused_until_ = Clock::now() + options_.pause;
      if (!std::exchange(failing_, true)) {
        options_.warn(absl::StrCat(
            "nothing more is stored until the disk takes it again: ",
            written.message()));
      }
    } else if (std::exchange(failing_, false)) {
      options_.warn("the disk takes states again");
    }
  }

  void Tell(Event event) {
    events_.push_back(std::move(event));
    if (wake_) wake_();
  }

  const PrefixFolderOptions options_;
  const std::unique_ptr<PrefixFolderFiles> files_;  // the thread's
  std::vector<Found> found_;                        // the caller's

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::function<void()> wake_;  // leaf locks only
  std::deque<uint64_t> removals_;
  std::deque<uint64_t> reads_;
  std::deque<PendingWrite> writes_;  // the first one is perhaps being written
  std::vector<Event> events_;
  Clock::time_point paused_until_{};
  bool failing_ = false;
  bool working_ = false;
  bool stopping_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefixStore>> OpenPrefixFolder(
    PrefixFolderOptions options) {
  absl::StatusOr<std::unique_ptr<PrefixFolderFiles>> files =
      PrefixFolderFiles::Open(options.folder, options.identity,
                              options.state_bytes, options.warn);
  if (!files.ok()) return files.status();
  absl::StatusOr<std::vector<PrefixStore::Found>> found = (*files)->Scan();
  if (!found.ok()) return found.status();
  return std::unique_ptr<PrefixStore>(new PrefixFolder(
      std::move(options), *std::move(files), *std::move(found)));
}

}  // namespace chela
