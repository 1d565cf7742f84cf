#ifndef CHELA_SERVER_RPC_WORKER_POOL_H_
#define CHELA_SERVER_RPC_WORKER_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace chela {

// The threads that do what would keep a gRPC callback longer than 1 ms:
// tokenising long inputs, building long answers, sessions, whose store may
// block. Thread-safe. Tasks must not throw.
class WorkerPool {
 public:
  // `queue_limit`: tasks that may wait.
  WorkerPool(int threads, size_t queue_limit);
  ~WorkerPool();  // Stop()s
  WorkerPool(const WorkerPool&) = delete;

  // New work. False if the queue is full: the caller refuses its request.
  [[nodiscard]] bool TrySubmit(std::function<void()> task);
  // Further work of a request that was let in; always taken. The caller has
  // at most one such task a request, which bounds the queue.
  void Submit(std::function<void()> task);

  // Runs what was taken, then joins the threads. Idempotent.
  void Stop();

 private:
  void Work();

  const size_t queue_limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_WORKER_POOL_H_
