#ifndef CHELA_SERVER_TOOLS_BENCH_CLOCK_H_
#define CHELA_SERVER_TOOLS_BENCH_CLOCK_H_

#include <chrono>

namespace chela::bench {

using Clock = std::chrono::steady_clock;

inline double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_CLOCK_H_
