#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace chela {
namespace {

using Body = absl::FunctionRef<void(int64_t task, int32_t thread)>;

// Ops of a step follow each other within a few microseconds.
constexpr std::chrono::microseconds kSpin{40};
constexpr uint64_t kIndexMask = 0xffffffffu;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// What one thread fetches while it waits. Written by the caller of Run while
// the thread may be reading: a torn pair fetches the wrong lines, no more.
struct alignas(64) Hint {
  std::atomic<const char*> data{nullptr};
  std::atomic<int64_t> bytes{0};
};

// A thread's way through its hint.
class Fetcher {
 public:
  explicit Fetcher(const Hint& hint) : hint_(hint) {}

  // Fetches a few lines, or pauses where none is left.
  void Step() {
    constexpr int64_t kLine = 64;
    constexpr int64_t kLines = 8;
    const char* const data = hint_.data.load(std::memory_order_relaxed);
    if (data != data_) {
      data_ = data;
      done_ = 0;
    }
    if (done_ >= hint_.bytes.load(std::memory_order_relaxed)) return Pause();
    for (int64_t line = 0; line < kLines; ++line) {
      __builtin_prefetch(data_ + done_ + line * kLine, 0, 2);
    }
    done_ += kLines * kLine;
  }

 private:
  const Hint& hint_;
  const char* data_ = nullptr;
  int64_t done_ = 0;
};

// True as soon as ready() is; false once kSpin has passed.
template <typename Ready>
bool SpinUntil(Ready ready, Fetcher& fetcher) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      fetcher.Step();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

// `claim` holds the job's number above and the next task's index below. A
// thread takes a task by advancing it, which fails if another job has begun;
// between jobs the index is kIndexMask, beyond every task. So a thread that
// wakes late can neither take a task twice nor run one of a job that it has
// not seen, and job and tasks may be read at any time.
struct ThreadPool::Shared {
  explicit Shared(int32_t count)
      : hints(static_cast<size_t>(count)),
        threads(static_cast<size_t>(count - 1)) {}

  void Work(int32_t thread);
  void RunTasks(int32_t thread);

  alignas(64) std::atomic<uint64_t> claim{kIndexMask};
  std::atomic<const Body*> job{nullptr};
  std::atomic<int64_t> tasks{0};
  alignas(64) std::atomic<uint32_t> done{0};
  std::atomic<bool> caller_sleeps{false};
  alignas(64) std::atomic<uint32_t> jobs{0};
  std::atomic<int32_t> sleepers{0};
  std::atomic<bool> stop{false};
  std::vector<Hint> hints;  // of each thread, the caller's first
  Fetcher fetcher{hints[0]};
  std::vector<std::thread> threads;
};

void ThreadPool::Shared::RunTasks(int32_t thread) {
  uint64_t at = claim.load(std::memory_order_acquire);
  for (;;) {
    const auto index = static_cast<int64_t>(at & kIndexMask);
    if (index >= tasks.load(std::memory_order_acquire)) return;
    if (!claim.compare_exchange_weak(at, at + 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      continue;
    }
    (*job.load(std::memory_order_relaxed))(index, thread);
    // The order of this and the next load against the caller's two, reversed,
    // is what keeps a wake-up from being lost.
    done.fetch_add(1, std::memory_order_seq_cst);
    if (caller_sleeps.load(std::memory_order_seq_cst)) done.notify_one();
    at = claim.load(std::memory_order_acquire);
  }
}

void ThreadPool::Shared::Work(int32_t thread) {
  Fetcher own(hints[static_cast<size_t>(thread)]);
  uint32_t seen = 0;
  while (true) {
    const auto changed = [&] {
      return jobs.load(std::memory_order_acquire) != seen;
    };
    if (!SpinUntil(changed, own)) {
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      jobs.wait(seen, std::memory_order_seq_cst);
      sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = jobs.load(std::memory_order_acquire);
    if (stop.load(std::memory_order_acquire)) return;
    RunTasks(thread);
  }
}

ThreadPool::ThreadPool(int32_t threads)
    : shared_(std::make_unique<Shared>(threads)) {
  for (int32_t i = 1; i < threads; ++i) {
    shared_->threads[static_cast<size_t>(i - 1)] =
        std::thread([shared = shared_.get(), i] { shared->Work(i); });
  }
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true, std::memory_order_release);
  shared_->jobs.fetch_add(1, std::memory_order_seq_cst);
  shared_->jobs.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

int32_t ThreadPool::threads() const {
  return static_cast<int32_t>(shared_->threads.size()) + 1;
}

void ThreadPool::FetchWhileWaiting(int32_t thread, const void* data,
                                   int64_t bytes) {
  Hint& hint = shared_->hints[static_cast<size_t>(thread)];
  hint.data.store(static_cast<const char*>(data), std::memory_order_relaxed);
  hint.bytes.store(bytes, std::memory_order_relaxed);
}

void ThreadPool::Run(int64_t tasks,
                     absl::FunctionRef<void(int64_t task)> body) {
  RunOnThreads(tasks, [&](int64_t task, int32_t) { body(task); });
}

void ThreadPool::RunOnThreads(int64_t tasks, Body body) {
  if (tasks <= 1 || shared_->threads.empty()) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  Shared& shared = *shared_;
  const auto count = static_cast<uint32_t>(tasks);
  const uint64_t last = shared.claim.load(std::memory_order_relaxed);
  shared.job.store(&body, std::memory_order_relaxed);
  shared.done.store(0, std::memory_order_relaxed);
  shared.tasks.store(tasks, std::memory_order_release);
  shared.claim.store((last | kIndexMask) + 1, std::memory_order_release);
  shared.jobs.fetch_add(1, std::memory_order_seq_cst);
  if (shared.sleepers.load(std::memory_order_seq_cst) > 0) {
    shared.jobs.notify_all();
  }
  shared.RunTasks(0);

  const auto finished = [&] {
    return shared.done.load(std::memory_order_acquire) == count;
  };
  if (!SpinUntil(finished, shared.fetcher)) {
    shared.caller_sleeps.store(true, std::memory_order_seq_cst);
    for (uint32_t done = shared.done.load(std::memory_order_seq_cst);
         done != count; done = shared.done.load(std::memory_order_seq_cst)) {
      shared.done.wait(done, std::memory_order_seq_cst);
    }
    shared.caller_sleeps.store(false, std::memory_order_relaxed);
  }
  // No thread may take the finished job's counter for that of a later job with
  // more tasks.
  shared.claim.fetch_or(kIndexMask, std::memory_order_relaxed);
}

}  // namespace chela
