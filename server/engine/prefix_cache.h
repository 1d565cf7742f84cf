#ifndef CHELA_SERVER_ENGINE_PREFIX_CACHE_H_
#define CHELA_SERVER_ENGINE_PREFIX_CACHE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/state_pool.h"
#include "server/engine/prefix_store.h"
#include "server/engine/prefix_tree.h"
#include "server/engine/request.h"
#include "server/metrics/metrics.h"

namespace chela {

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
// host, else in the store, if there is one. Slots are given up as soon as an
// admission wants them; their states move to the host, at most kMovedBytes of
// them at once, so that admission never waits long. max_bytes bounds what is on
// the host: states and the tree of tokens, the latter an eighth of it at most,
// those that lead to stored states included. Beyond, the state that was used
// longest ago moves to the store or is dropped; a use is a hit or being saved.
// The points of cache_at may be pinned for some time: their states lie on the
// host then and are not given up before. All of them together have at most
// max_pinned_bytes, and half of max_bytes, so that nobody who may pin takes
// the memory from the others.
//
// **The store** (prefix_store.h) works beside the engine, which never waits for
// it. What it has begun is counted with its largest size, so max_stored_bytes
// is never passed. A stored state that a prompt wants is read before the
// prompt is admitted (PrefixReader::Ready), and is on the host from then on,
// too; of those that are being read or were just read for prompts that still
// wait there are at most kLoadedBytes. A store that lets a prompt wait too long
// is not read for a while.
//
// Errors are faults of the device. Owned by its device's thread.
class PrefixCache {
 public:
  struct Options {
    int64_t max_bytes = 0;         // 0: keeps nothing and finds nothing
    PrefixStore* store = nullptr;  // null: none
    int64_t max_stored_bytes = 0;
    int64_t max_pinned_bytes = 0;
  };
  // Everything borrowed must outlive it.
  PrefixCache(const Options& options, StatePool& pool, Metrics& metrics);

  // Slots that hold states which are given up when FreeSlots asks.
  int32_t slots() const { return tree_.states_in_slots(); }
  // Gives slots up until `count` of the pool are free, or none are left.
  absl::Status FreeSlots(int32_t count);

  // Takes notice of what the store has done, and of pins that are over. Often:
  // prompts wait for it.
  void TakeEvents();
  // When the next pin is over.
  std::optional<Clock::time_point> next_pin_end() const {
    return next_pin_end_;
  }
  // Before the end: writes the states in memory to the store, the most
  // recently used first, until `deadline`.
  void Flush(Clock::time_point deadline);

 private:
  friend class PrefixReader;

  // A state that is being read from the store, for the prompts that wait.
  struct Loading {
    bool done = false;
    StateBytes state;  // null: lost
  };

  bool on() const { return max_bytes_ > 0; }
  int64_t host_bytes() const;
  absl::Status Save(std::string_view salt, std::span<const int32_t> tokens,
                    const StatePool::Slot& slot);
  bool MakeRoom(const PrefixTree::Node* mover);
  absl::Status MoveToHost(PrefixTree::Node& node, bool& moved);
  // Null if the system has no memory for it.
  absl::StatusOr<StateBytes> HostCopy(const StatePool::Slot& slot);
  void FitHost();
  void Publish();

  // prefix_pins.cc
  int64_t pinned_bytes() const;
  // Pins the state in memory after these tokens, if there is one and room for
  // it, at least until then. Whether it is pinned.
  absl::StatusOr<bool> Pin(std::string_view salt,
                           std::span<const int32_t> tokens,
                           Clock::time_point until);
  void Unpin(std::string_view salt, std::span<const int32_t> tokens);
  void EndPins(Clock::time_point now);
  void FindNextPinEnd();

  // prefix_spill.cc
  void TakeFound();
  // Gives the state in memory up, to the store if it takes it.
  absl::Status GiveUp(PrefixTree::Node& node);
  void GiveUpOldestOnHost();
  absl::Status Store(PrefixTree::Node& node, uint64_t key);
  bool MakeStoreRoom(int64_t bytes);
  void RemoveDropped();
  // Null while too many others are being read.
  std::shared_ptr<Loading> Load(const PrefixTree::Node& node);
  // Nobody waits for the store any more, for some time.
  void PauseLoading(Clock::time_point now);
  bool loads(Clock::time_point now) const {
    return store_ != nullptr && now >= loads_again_at_;
  }
  void TakeRead(uint64_t key, const StateBytes& state);

  const int64_t max_bytes_;
  PrefixStore* const store_;
  const int64_t max_stored_bytes_;
  const int64_t max_pinned_bytes_;
  StatePool& pool_;
  Metrics& metrics_;
  PrefixTree tree_;
  int64_t published_bytes_ = 0;
  int64_t published_stored_ = 0;
  int64_t published_drops_ = 0;
  int64_t published_pinned_ = 0;
  // Nodes stay where they are while they are pinned.
  std::map<PrefixTree::Node*, Clock::time_point> pins_;
  std::optional<Clock::time_point> next_pin_end_;
  uint64_t next_key_ = 1;
  // By key. Those that nobody waits for any more have expired.
  std::map<uint64_t, std::weak_ptr<Loading>> loading_;
  Clock::time_point loads_again_at_{};
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_CACHE_H_
