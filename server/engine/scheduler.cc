#include "server/engine/scheduler.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "models/model_config.h"

namespace chela {
namespace {

// Indices of the running sequences with work of `kind`, in serving order.
std::vector<int32_t> InOrder(const std::vector<RunningEntry>& running,
                             WorkKind kind) {
  std::vector<int32_t> order;
  for (size_t i = 0; i < running.size(); ++i) {
    if (running[i].work.kind == kind) order.push_back(static_cast<int32_t>(i));
  }
  const auto chunk_rank = [&running](int32_t i) {
    const RunningEntry& entry = running[i];
    return std::tuple(-int64_t{entry.priority}, entry.last_step, entry.arrival);
  };
  // Among decoding sequences the longest pause comes before the priority:
  // each of them has a reader who waits for the next token.
  const auto decode_rank = [&running](int32_t i) {
    const RunningEntry& entry = running[i];
    return std::tuple(entry.last_step, -int64_t{entry.priority}, entry.arrival);
  };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return kind == WorkKind::kDecode ? decode_rank(a) < decode_rank(b)
                                     : chunk_rank(a) < chunk_rank(b);
  });
  return order;
}

// Goes through `order` and takes whatever still fits into `rows`.
std::vector<int32_t> FirstThatFit(const std::vector<RunningEntry>& running,
                                  const std::vector<int32_t>& order,
                                  int32_t rows) {
  std::vector<int32_t> taken;
  for (const int32_t index : order) {
    if (running[index].work.rows > rows) continue;
    rows -= running[index].work.rows;
    taken.push_back(index);
  }
  return taken;
}

int32_t Choose(const WaitingEntry& entry,
               const std::vector<int32_t>& free_slots) {
  const auto freest = static_cast<int32_t>(
      std::max_element(free_slots.begin(), free_slots.end()) -
      free_slots.begin());
  if (entry.holder < 0) return freest;
  const int32_t at_holder = free_slots[entry.holder];
  return at_holder >= entry.slots &&
                 at_holder + kHolderLead >= free_slots[freest]
             ? entry.holder
             : freest;
}

}  // namespace

std::vector<Admission> Admit(const std::vector<WaitingEntry>& waiting,
                             std::vector<int32_t> free_slots) {
  std::vector<int32_t> order(waiting.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&waiting](int32_t a, int32_t b) {
    return std::tuple(-int64_t{waiting[a].priority}, waiting[a].arrival) <
           std::tuple(-int64_t{waiting[b].priority}, waiting[b].arrival);
  });
  std::vector<Admission> admitted;
  for (const int32_t index : order) {
    const int32_t replica = Choose(waiting[index], free_slots);
    if (free_slots[replica] < waiting[index].slots) break;
    free_slots[replica] -= waiting[index].slots;
    admitted.push_back({index, replica});
  }
  return admitted;
}

std::vector<int32_t> PlanStep(const std::vector<RunningEntry>& running,
                              const StepLimits& limits) {
  const std::vector<int32_t> decoding = InOrder(running, WorkKind::kDecode);
  const std::vector<int32_t> chunks = InOrder(running, WorkKind::kChunk);
  int64_t decode_rows = 0;
  for (const int32_t index : decoding) decode_rows += running[index].work.rows;
  if (chunks.empty()) return FirstThatFit(running, decoding, limits.max_rows);
  const int32_t first_rows = running[chunks[0]].work.rows;
  if (decode_rows + first_rows > limits.max_rows) {
    if (limits.after_chunk) {
      return FirstThatFit(running, decoding, limits.max_rows);
    }
    std::vector<int32_t> step =
        FirstThatFit(running, decoding, limits.max_rows - first_rows);
    step.push_back(chunks[0]);
    return step;
  }
  std::vector<int32_t> step = decoding;
  const auto chunk_rows = static_cast<int32_t>(limits.max_rows - decode_rows);
  for (const int32_t index : FirstThatFit(running, chunks, chunk_rows)) {
    step.push_back(index);
  }
  return step;
}

int32_t ChunkRows(int64_t position, int64_t remaining) {
  return static_cast<int32_t>(
      std::min(remaining, kChunkTokens - position % kChunkTokens));
}

}  // namespace chela
