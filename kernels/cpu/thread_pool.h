#ifndef CHELA_KERNELS_CPU_THREAD_POOL_H_
#define CHELA_KERNELS_CPU_THREAD_POOL_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace chela {

// A fixed set of threads that share the tasks of one call, the caller among
// them. Waiting threads spin for some microseconds, since the ops of a step
// follow each other closely, and then sleep, so that an idle server uses no
// core and another process's work is not fought.
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

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_THREAD_POOL_H_
