#ifndef CHELA_SERVER_TOOLS_BENCH_PAIRED_RUNS_H_
#define CHELA_SERVER_TOOLS_BENCH_PAIRED_RUNS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {

inline constexpr double kSliceSeconds = 0.1;

// How long to measure.
struct PairOptions {
  double seconds = 0.5;   // of steps and of the read test, in each pair
  int32_t pairs = 7;      // at least
  int64_t min_steps = 0;  // more pairs are run until this many were timed
  double warm_up_seconds = 2;
};

// One thing measured beside the ceiling.
struct PairedResult {
  std::vector<double> step_seconds;  // of every step of the kept pairs
  double total_seconds = 0;          // their sum
  Spread share;                      // per pair: bytes / median step / ceiling
  Spread ceiling;                    // bytes a second
  int32_t pairs = 0;                 // kept
  int32_t disturbed_pairs = 0;       // dropped: others took the cores
  bool warm = false;                 // ceilings agreed within 3% at the start
  bool conclusive = false;           // enough undisturbed pairs, close together
  Spread peer;  // per pair: median peer step / median step; if there is a peer
  bool peer_conclusive = false;      // as `conclusive`, of that ratio alone
  std::vector<double> peer_seconds;  // of every step of the peer

  // The fields that every row of every table has.
  nlohmann::json ToJson() const;
};

// Times `step` and the ceiling side by side. Each half of a pair is cut into
// slices of about kSliceSeconds that take turns in the order A B B A A B B A:
// a machine whose speed drifts changes both. A pair during which other
// processes or guests took more than 2% of the cores' time is dropped and
// another one run, up to twice as many as asked for; if none was undisturbed
// all are kept, and the result is inconclusive. `bytes` is what one step moves.
// Errors are those of `step`.
absl::StatusOr<PairedResult> RunPairs(const PairOptions& options, double bytes,
                                      Ceiling& ceiling,
                                      absl::FunctionRef<absl::Status()> step);
// With a third in turn: `peer`, another way to do what a step does. The result
// is conclusive if the ratio to the peer is as well.
absl::StatusOr<PairedResult> RunPairs(const PairOptions& options, double bytes,
                                      Ceiling& ceiling,
                                      absl::FunctionRef<absl::Status()> step,
                                      absl::FunctionRef<absl::Status()> peer);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PAIRED_RUNS_H_
