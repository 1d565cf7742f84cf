#ifndef CHELA_SERVER_TOOLS_BENCH_SERVE_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_SERVE_BENCH_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench serve: load on a running server.
struct ServeBenchOptions {
  std::string target = "127.0.0.1:50051";
  // Closed loop: this many clients, each sending its next request when the
  // last one ended. Not used if `rate` is above 0.
  int32_t concurrency = 8;
  // Open loop: requests a second on average, arriving as a Poisson process
  // however long the answers take.
  double rate = 0;
  int64_t requests = 0;  // to send in all; 0: until `duration` is over
  std::chrono::duration<double> duration{10};  // not used with `requests`
  std::chrono::duration<double> timeout{120};  // of one request
  int32_t prompt_tokens = 128;                 // random ids, BOS included
  int32_t max_tokens = 64;  // always generated in full (ignore_eos)
  double temperature = 1;
  uint64_t seed = 1;  // of prompts, arrivals and, plus its index, each request
};

// Sends the load and reports; the JSON's fields are api.md's. Percentiles are
// of the requests that ended well; all others are in `errors`, by gRPC code.
// UNAVAILABLE if the server does not answer at all.
absl::Status RunServeBench(const ServeBenchOptions& options,
                           const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_SERVE_BENCH_H_
