#ifndef CHELA_SERVER_ENGINE_PREFIX_READER_H_
#define CHELA_SERVER_ENGINE_PREFIX_READER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/state_pool.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/request.h"

namespace chela {

// A prompt for which the cache is asked. Borrowed by whoever reads it.
struct CachedPrompt {
  // Prompts of different salts never share a state.
  std::string_view salt;
  std::span<const int32_t> tokens;
  // Lengths of beginnings of the prompt that others will begin with too.
  std::span<const int64_t> cache_at;
  // Those states are to be pinned for so long; 0: not any more.
  std::optional<std::chrono::seconds> pin = std::nullopt;
  // The logits of every token are wanted: all of them are read.
  bool reads_all = false;
};

// Reads one prompt with the help of the cache: Ready until it is, Start, then
// Reached after each chunk. Does nothing if it was made without a cache.
//
// Owned by its device's thread.
class PrefixReader {
 public:
  PrefixReader() = default;
  // Both must outlive it.
  PrefixReader(PrefixCache& cache, const CachedPrompt& prompt);

  bool has_cache() const { return cache_ != nullptr; }

  // Whether Start need not wait for the store: the first call may begin to
  // read there, and after half a second the prompt goes without it, and those
  // of the next half minute, too.
  bool Ready(Clock::time_point now);
  // When Ready is to be asked again at the latest.
  std::optional<Clock::time_point> waits_until() const { return waits_until_; }

  // Restores the longest prefix there is into `slot` and returns its tokens,
  // less than the prompt has: reading goes on there. 0 without one. Again, to
  // read the prompt again: the metrics count the first time.
  absl::StatusOr<int64_t> Start(const StatePool::Slot& slot);
  // Where Start found it.
  CacheTier tier() const { return tier_; }
  // The longest beginning that was pinned for cache_at; 0: none.
  int64_t pinned() const { return pinned_; }
  // Whether there are states to keep from here on.
  bool keeps() const { return !points_.empty(); }
  // The first `position` tokens were read: keeps their state if it is wanted.
  absl::Status Reached(int64_t position, const StatePool::Slot& slot);

 private:
  int64_t size() const { return static_cast<int64_t>(prompt_.tokens.size()); }
  std::span<const int32_t> First(int64_t tokens) const {
    return prompt_.tokens.first(static_cast<size_t>(tokens));
  }
  int64_t Limit() const;
  bool Loads(Clock::time_point now);
  absl::Status Restore(const PrefixTree::Match& match,
                       const StatePool::Slot& slot);
  absl::Status PinOrUnpin(int64_t point);

  PrefixCache* cache_ = nullptr;
  CachedPrompt prompt_;
  bool ready_ = false;
  std::optional<Clock::time_point> waits_until_;
  std::shared_ptr<PrefixCache::Loading> loading_;
  int64_t loading_position_ = 0;
  bool started_ = false;
  CacheTier tier_ = CacheTier::kNone;
  int64_t position_ = 0;         // of the state that Start found
  std::vector<int64_t> points_;  // still to save, ascending
  std::vector<int64_t> pins_;    // to pin, or no longer, ascending
  int64_t pinned_ = 0;
};

// The multiples of kChunkTokens in (from, size] at or next before each of the
// points, ascending, once each.
std::vector<int64_t> GridPoints(std::vector<int64_t> points, int64_t from,
                                int64_t size);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_READER_H_
