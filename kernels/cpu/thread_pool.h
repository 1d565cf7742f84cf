#ifndef CHELA_KERNELS_CPU_THREAD_POOL_H_
#define CHELA_KERNELS_CPU_THREAD_POOL_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace chela {

// A fixed set of threads that share the tasks of one call, the caller among
// them. Waiting threads spin for some microseconds, since the ops of a step
// follow each other closely, and then sleep, so that an idle server uses no
// core and another process's work is not fought. While it spins, a thread
// fetches what it was told it will read soon, so that memory is not idle while
// the threads wait for each other.
//
// Threads: one thread calls Run; tasks must not call Run.
class ThreadPool {
 public:
  // threads >= 1, the caller's included.
  explicit ThreadPool(int32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t threads() const;

  // Calls body(task) once for every task in [0, tasks), on any thread and in
  // any order, and returns when all are done. What a task computes must not
  // depend on which thread runs it.
  void Run(int64_t tasks, absl::FunctionRef<void(int64_t task)> body);
  // The same, with the number of the thread that runs the task, in [0,
  // threads()); the caller's is 0.
  void RunOnThreads(int64_t tasks,
                    absl::FunctionRef<void(int64_t task, int32_t thread)> body);

  // Lets `thread` fetch [data, data + bytes) into its cache where it waits,
  // from the next Run on. A hint only: the memory is never read, so it need not
  // exist. Called by the thread that calls Run.
  void FetchWhileWaiting(int32_t thread, const void* data, int64_t bytes);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_THREAD_POOL_H_
