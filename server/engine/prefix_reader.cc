#include "server/engine/prefix_reader.h"

#include <algorithm>
#include <utility>

#include "kernels/status_macros.h"
#include "models/model_config.h"

namespace chela {
namespace {

// A disk that is slower than this is no help.
constexpr std::chrono::milliseconds kLoadPatience(500);

}  // namespace

std::vector<int64_t> GridPoints(std::vector<int64_t> points, int64_t from,
                                int64_t size) {
  for (int64_t& point : points) {
    point = std::min(point, size) / kChunkTokens * kChunkTokens;
  }
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  std::erase_if(points, [from](int64_t point) { return point <= from; });
  return points;
}

PrefixReader::PrefixReader(PrefixCache& cache, const CachedPrompt& prompt)
    : cache_(cache.on() ? &cache : nullptr), prompt_(prompt) {
  if (prompt.pin.has_value()) {
    pins_ =
        GridPoints({prompt.cache_at.begin(), prompt.cache_at.end()}, 0, size());
  }
}

// States behind it are of no use: the last token is read for its logits, and
// the prompt has to pass what is to be pinned and is not in memory.
int64_t PrefixReader::Limit() const {
  const int64_t limit = prompt_.reads_all ? 0 : size() - 1;
  if (!prompt_.pin.has_value() || prompt_.pin->count() == 0) return limit;
  for (const int64_t point : pins_) {
    if (cache_->tree_.StateAt(prompt_.salt, First(point)) == nullptr) {
      return std::min(limit, point);
    }
  }
  return limit;
}

absl::Status PrefixReader::PinOrUnpin(int64_t point) {
  if (prompt_.pin->count() == 0) {
    cache_->Unpin(prompt_.salt, First(point));
    return absl::OkStatus();
  }
  const absl::StatusOr<bool> pinned =
      cache_->Pin(prompt_.salt, First(point), Clock::now() + *prompt_.pin);
  CHELA_RETURN_IF_ERROR(pinned.status());
  if (*pinned) pinned_ = std::max(pinned_, point);
  return absl::OkStatus();
}

bool PrefixReader::Ready(Clock::time_point now) {
  if (cache_ == nullptr || ready_) return true;
  ready_ = !cache_->loads(now) || !Loads(now);
  if (!ready_ && now >= *waits_until_) {
    // Those that others are read before are not the store's fault.
    if (loading_ != nullptr) cache_->PauseLoading(now);
    ready_ = true;
  }
  if (ready_) waits_until_.reset();
  return ready_;
}

// Whether there is a state in the store that is still to come. Begins to read
// it; if that was lost, the next one.
bool PrefixReader::Loads(Clock::time_point now) {
  while (loading_ == nullptr ||
         (loading_->done && loading_->state == nullptr)) {
    const PrefixTree::Match match =
        cache_->tree_.Peek(prompt_.salt, prompt_.tokens, Limit());
    if (match.stored == nullptr) return false;
    if (!waits_until_.has_value()) waits_until_ = now + kLoadPatience;
    loading_ = cache_->Load(*match.stored);
    loading_position_ = match.stored_position;
    if (loading_ == nullptr) return true;
  }
  return !loading_->done;
}

absl::Status PrefixReader::Restore(const PrefixTree::Match& match,
                                   const StatePool::Slot& slot) {
  StatePool& pool = cache_->pool_;
  const auto size = static_cast<size_t>(pool.slot_bytes());
  const auto loading = std::exchange(loading_, nullptr);
  if (loading != nullptr && loading->state != nullptr &&
      loading_position_ >= match.position) {
    tier_ = CacheTier::kDisk;
    position_ = loading_position_;
    return pool.Restore({loading->state.get(), size}, slot);
  }
  position_ = match.position;
  if (match.node == nullptr) {
    tier_ = CacheTier::kNone;
    return absl::OkStatus();
  }
  const CachedState& state = PrefixTree::StateOf(*match.node);
  tier_ = state.slot.valid() ? CacheTier::kDevice : CacheTier::kHost;
  return state.slot.valid() ? pool.Copy(state.slot, slot)
                            : pool.Restore({state.bytes.get(), size}, slot);
}

absl::StatusOr<int64_t> PrefixReader::Start(const StatePool::Slot& slot) {
  if (cache_ == nullptr) return 0;
  PrefixTree& tree = cache_->tree_;
  const PrefixTree::Match match =
      tree.Find(prompt_.salt, prompt_.tokens, Limit());
  CHELA_RETURN_IF_ERROR(Restore(match, slot));
  std::vector<int64_t> points(prompt_.cache_at.begin(), prompt_.cache_at.end());
  points.push_back(match.shared);
  points.push_back(size());
  points_ = GridPoints(std::move(points), position_, size());
  // No state will ever stand behind the last multiple.
  tree.Insert(prompt_.salt, First(size() / kChunkTokens * kChunkTokens));
  if (!prompt_.reads_all && !std::exchange(started_, true)) {
    cache_->metrics_.AddPrefixCacheTokens(size(), position_, Name(tier_));
  }
  cache_->FitHost();
  for (const int64_t point : pins_) {
    if (point <= position_) CHELA_RETURN_IF_ERROR(PinOrUnpin(point));
  }
  return position_;
}

absl::Status PrefixReader::Reached(int64_t position,
                                   const StatePool::Slot& slot) {
  if (points_.empty() || points_.front() > position) return absl::OkStatus();
  const bool wanted = points_.front() == position;
  points_.erase(points_.begin());
  if (!wanted) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(cache_->Save(prompt_.salt, First(position), slot));
  return std::binary_search(pins_.begin(), pins_.end(), position)
             ? PinOrUnpin(position)
             : absl::OkStatus();
}

}  // namespace chela
