#ifndef CHELA_SERVER_ENGINE_SCHEDULER_H_
#define CHELA_SERVER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <vector>

namespace chela {

// What one sequence would do in the next step.
enum class WorkKind {
  kNothing,  // waits for input
  kDecode,   // feeds its last sampled tokens, one a choice
  kChunk,    // reads a piece of its prompt or of a text to score
};
struct Work {
  WorkKind kind = WorkKind::kNothing;
  int32_t rows = 0;
};

struct WaitingEntry {
  int32_t priority = 0;  // higher first
  int64_t arrival = 0;   // lower first; distinct
  int32_t slots = 1;     // it is admitted with, >= 1
  int32_t holder = -1;   // the replica that has read its beginning; -1: none
};

// A waiting request and the replica that takes it.
struct Admission {
  int32_t entry = 0;    // index of the waiting entry
  int32_t replica = 0;  // index of its free slots
};

// A request goes to the replica that has read its beginning while that has at
// most this many free slots fewer than the freest one. What a hit spares is
// worth a few rows more in each step, not a replica that idles.
inline constexpr int32_t kHolderLead = 8;

struct RunningEntry {
  Work work;
  int32_t priority = 0;
  int64_t arrival = 0;
  int64_t last_step = -1;  // the latest step it took part in; -1: none yet
};

struct StepLimits {
  int32_t max_rows = 0;  // of one step; >= kChunkTokens
  // Whether the step before this one held a chunk. Decides whose turn it is
  // when decoding sequences and one chunk do not fit into a step together.
  bool after_chunk = false;
};

// Both functions decide from their arguments alone: no device, lock or clock.

// The waiting requests to admit now, in order: by priority, then arrival. Each
// goes to its holder (kHolderLead) or to the replica with the most free slots,
// of equals the first. free_slots: of each replica. The first request whose
// slots no replica has free holds back all behind it, so that a request for two
// slots is not passed over forever.
std::vector<Admission> Admit(const std::vector<WaitingEntry>& waiting,
                             std::vector<int32_t> free_slots);

// The sequences that take part in the next step: decoding ones first, in the
// step's order. Returns indices; empty if nobody has work.
//
// - Every decoding sequence takes part; if they have more than max_rows rows,
//   those whose last step is longest ago, as far as they fit.
// - Then chunks, as many as fit beside them, each whole: by priority, and among
//   equals the one whose last step is longest ago, so that a long prompt does
//   not hold back a short one.
// - If not even the first chunk fits beside all decoding sequences, such steps
//   alternate: one with the chunk, filled up with as many of them as fit, and
//   one for decoding alone. Neither side starves; with max_rows >= slots +
//   kChunkTokens this never happens.
std::vector<int32_t> PlanStep(const std::vector<RunningEntry>& running,
                              const StepLimits& limits);

// The rows of the chunk at `position` of a text with `remaining` tokens left:
// up to the next absolute multiple of kChunkTokens or to the end, whatever else
// runs, so that a prompt has one fixed sequence of splits.
int32_t ChunkRows(int64_t position, int64_t remaining);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SCHEDULER_H_
