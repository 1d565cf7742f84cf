#ifndef CHELA_SERVER_ENGINE_PREFIX_CACHE_H_
#define CHELA_SERVER_ENGINE_PREFIX_CACHE_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/state_pool.h"
#include "server/engine/prefix_tree.h"
#include "server/metrics/metrics.h"

namespace chela {

// A prompt for which the cache is asked. Borrowed by whoever reads it.
struct CachedPrompt {
  // Prompts of different salts never share a state.
  std::string_view salt;
  std::span<const int32_t> tokens;
  // Lengths of beginnings of the prompt that others will begin with too.
  std::span<const int64_t> cache_at;
  // The logits of every token are wanted: all of them are read.
  bool reads_all = false;
};

// The states after prefixes of earlier prompts, so that a prompt that begins
// like one of them is read from there on: a copy of fixed size instead of a
// forward pass over the prefix.
//
// **Where.** States stand only at absolute multiples of kChunkTokens, where a
// prompt's chunks end whatever runs beside. What is read after one of them is
// cut as it would have been without it, so a hit and a miss give the same bits.
// A prompt is never restored at its own end: its last token is read again, for
// its logits.
//
// **Which.** While a prompt is read, a state is kept at the last multiple
// of kChunkTokens at or before: its end; each point of cache_at; and the point
// where it parts from an earlier prompt. A shared beginning is thus found
// without being named: the second prompt that has it leaves its state, the
// third one uses it.
//
// **Memory.** A state lies in a slot of the pool that nobody needs, else on the
// host. Slots are given up as soon as an admission wants them; their states
// move to the host, at most kMovedBytes of them at once, so that admission
// never waits long. max_bytes bounds what is on the host: states and the tree
// of tokens, the latter an eighth of it at most. Beyond, the state that was
// used longest ago is dropped; a use is a hit or being saved. There are no
// pins: a hit copies within one call, and a caller who could pin states
// by cache_at could take the memory for good.
//
// Errors are faults of the device. Owned by the engine's thread.
class PrefixCache {
 public:
  // max_bytes 0: keeps nothing and finds nothing. Everything borrowed must
  // outlive it.
  PrefixCache(int64_t max_bytes, StatePool& pool, Metrics& metrics);

  // Slots that hold states which are given up when FreeSlots asks.
  int32_t slots() const { return tree_.states_in_slots(); }
  // Gives slots up until `count` of the pool are free, or none are left.
  absl::Status FreeSlots(int32_t count);

 private:
  friend class PrefixReader;

  bool on() const { return max_bytes_ > 0; }
  int64_t host_bytes() const;
  absl::Status Save(std::string_view salt, std::span<const int32_t> tokens,
                    const StatePool::Slot& slot);
  bool MakeRoom(const PrefixTree::Node* mover);
  absl::Status MoveToHost(PrefixTree::Node& node, bool& moved);
  absl::StatusOr<CachedState> HostCopy(const StatePool::Slot& slot);
  void FitHost();
  void Publish();

  const int64_t max_bytes_;
  StatePool& pool_;
  Metrics& metrics_;
  PrefixTree tree_;
  int64_t published_bytes_ = 0;
  int64_t published_drops_ = 0;
};

// Reads one prompt with the help of the cache: Start, then Reached after each
// chunk. Does nothing if it was made without a cache.
//
// Owned by the engine's thread.
class PrefixReader {
 public:
  PrefixReader() = default;
  // Both must outlive it.
  PrefixReader(PrefixCache& cache, const CachedPrompt& prompt);

  // Restores the longest prefix there is into `slot` and returns its tokens,
  // less than the prompt has: reading goes on there. 0 without one.
  absl::StatusOr<int64_t> Start(const StatePool::Slot& slot);
  // Whether there are states to keep from here on.
  bool keeps() const { return !points_.empty(); }
  // The first `position` tokens were read: keeps their state if it is wanted.
  absl::Status Reached(int64_t position, const StatePool::Slot& slot);

 private:
  PrefixCache* cache_ = nullptr;
  CachedPrompt prompt_;
  std::vector<int64_t> points_;  // still to save, ascending
};

// The multiples of kChunkTokens in (from, size] at or next before each of the
// points, ascending, once each.
std::vector<int64_t> GridPoints(std::vector<int64_t> points, int64_t from,
                                int64_t size);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_CACHE_H_
