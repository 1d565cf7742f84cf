#include "server/engine/prefix_cache.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "kernels/status_macros.h"
#include "models/model_config.h"

namespace chela {
namespace {

// What a turn of the engine may copy to the host to free slots: some
// milliseconds. The states of further ones are dropped.
constexpr int64_t kMovedBytes = 64 << 20;

// Of max_bytes, for the tokens: 16 bytes of states for each byte of tokens are
// reached by states of 16 KiB, which real models exceed.
constexpr int64_t kTreeShare = 8;

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

PrefixCache::PrefixCache(int64_t max_bytes, StatePool& pool, Metrics& metrics)
    : max_bytes_(max_bytes),
      pool_(pool),
      metrics_(metrics),
      tree_(max_bytes / kTreeShare) {}

int64_t PrefixCache::host_bytes() const {
  return tree_.bytes() + tree_.states_on_host() * pool_.slot_bytes();
}

// Tokens that were added are memory too.
void PrefixCache::FitHost() {
  while (host_bytes() > max_bytes_) tree_.Drop(*tree_.OldestOnHost());
  Publish();
}

void PrefixCache::Publish() {
  const int64_t drops = tree_.dropped_states();
  metrics_.AddPrefixCache(host_bytes() - published_bytes_,
                          drops - published_drops_);
  published_bytes_ = host_bytes();
  published_drops_ = drops;
}

// Drops states on the host until one more fits. False if none does, or if
// `mover` would be the next to go.
bool PrefixCache::MakeRoom(const PrefixTree::Node* mover) {
  if (tree_.bytes() + pool_.slot_bytes() > max_bytes_) return false;
  while (host_bytes() + pool_.slot_bytes() > max_bytes_) {
    if (mover != nullptr && tree_.Oldest() == mover) return false;
    tree_.Drop(*tree_.OldestOnHost());
  }
  return true;
}

// Without bytes if the system has no memory for it.
absl::StatusOr<CachedState> PrefixCache::HostCopy(const StatePool::Slot& slot) {
  const auto size = static_cast<size_t>(pool_.slot_bytes());
  CachedState copy;
  copy.bytes.reset(new (std::nothrow) std::byte[size]);
  if (copy.bytes != nullptr) {
    CHELA_RETURN_IF_ERROR(pool_.Save(slot, {copy.bytes.get(), size}));
  }
  return copy;
}

absl::Status PrefixCache::MoveToHost(PrefixTree::Node& node, bool& moved) {
  moved = false;
  if (!MakeRoom(&node)) return absl::OkStatus();
  absl::StatusOr<CachedState> copy = HostCopy(PrefixTree::StateOf(node).slot);
  CHELA_RETURN_IF_ERROR(copy.status());
  if (copy->bytes == nullptr) return absl::OkStatus();
  tree_.Replace(node, *std::move(copy));
  moved = true;
  return absl::OkStatus();
}

absl::Status PrefixCache::FreeSlots(int32_t count) {
  if (pool_.free_slots() >= count || slots() == 0) return absl::OkStatus();
  int64_t left = std::max(kMovedBytes, pool_.slot_bytes());
  while (pool_.free_slots() < count && slots() > 0) {
    PrefixTree::Node& oldest = *tree_.OldestInSlot();
    left -= pool_.slot_bytes();
    bool moved = false;
    if (left >= 0) CHELA_RETURN_IF_ERROR(MoveToHost(oldest, moved));
    if (!moved) tree_.Drop(oldest);
  }
  Publish();
  return absl::OkStatus();
}

absl::Status PrefixCache::Save(std::string_view salt,
                               std::span<const int32_t> tokens,
                               const StatePool::Slot& slot) {
  if (tree_.Holds(salt, tokens)) return absl::OkStatus();
  CachedState state;
  if (pool_.free_slots() > 0) {
    absl::StatusOr<StatePool::Slot> free = pool_.Acquire();
    CHELA_RETURN_IF_ERROR(free.status());
    state.slot = *std::move(free);
    CHELA_RETURN_IF_ERROR(pool_.Copy(slot, state.slot));
  } else {
    if (!MakeRoom(nullptr)) return absl::OkStatus();
    absl::StatusOr<CachedState> copy = HostCopy(slot);
    CHELA_RETURN_IF_ERROR(copy.status());
    if (copy->bytes == nullptr) return absl::OkStatus();
    state = *std::move(copy);
  }
  tree_.Put(salt, tokens, std::move(state));
  FitHost();
  return absl::OkStatus();
}

PrefixReader::PrefixReader(PrefixCache& cache, const CachedPrompt& prompt)
    : cache_(cache.on() ? &cache : nullptr), prompt_(prompt) {}

absl::StatusOr<int64_t> PrefixReader::Start(const StatePool::Slot& slot) {
  if (cache_ == nullptr) return 0;
  const auto size = static_cast<int64_t>(prompt_.tokens.size());
  PrefixTree& tree = cache_->tree_;
  const PrefixTree::Match match =
      tree.Find(prompt_.salt, prompt_.tokens, prompt_.reads_all ? 0 : size - 1);
  if (match.node != nullptr) {
    StatePool& pool = cache_->pool_;
    const CachedState& state = PrefixTree::StateOf(*match.node);
    CHELA_RETURN_IF_ERROR(
        state.slot.valid()
            ? pool.Copy(state.slot, slot)
            : pool.Restore(
                  {state.bytes.get(), static_cast<size_t>(pool.slot_bytes())},
                  slot));
  }
  std::vector<int64_t> points(prompt_.cache_at.begin(), prompt_.cache_at.end());
  points.push_back(match.shared);
  points.push_back(size);
  points_ = GridPoints(std::move(points), match.position, size);
  // No state will ever stand behind the last multiple.
  tree.Insert(prompt_.salt, prompt_.tokens.first(static_cast<size_t>(
                                size / kChunkTokens * kChunkTokens)));
  if (!prompt_.reads_all) {
    cache_->metrics_.AddPrefixCacheTokens(size, match.position);
  }
  const int64_t position = match.position;
  cache_->FitHost();
  return position;
}

absl::Status PrefixReader::Reached(int64_t position,
                                   const StatePool::Slot& slot) {
  if (points_.empty() || points_.front() > position) return absl::OkStatus();
  const bool wanted = points_.front() == position;
  points_.erase(points_.begin());
  if (!wanted) return absl::OkStatus();
  return cache_->Save(
      prompt_.salt, prompt_.tokens.first(static_cast<size_t>(position)), slot);
}

}  // namespace chela
