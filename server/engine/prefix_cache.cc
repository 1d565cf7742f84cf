#include "server/engine/prefix_cache.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "kernels/status_macros.h"

namespace chela {
namespace {

// What a turn of the engine may copy to the host to free slots: some
// milliseconds. The states of further ones are dropped.
constexpr int64_t kMovedBytes = 64 << 20;

// Of max_bytes, for the tokens: 16 bytes of states for each byte of tokens are
// reached by states of 16 KiB, which real models exceed.
constexpr int64_t kTreeShare = 8;

}  // namespace

PrefixCache::PrefixCache(const Options& options, StatePool& pool,
                         Metrics& metrics)
    : max_bytes_(options.max_bytes),
      store_(options.max_bytes > 0 ? options.store : nullptr),
      max_stored_bytes_(options.max_stored_bytes),
      max_pinned_bytes_(
          std::min(options.max_pinned_bytes, options.max_bytes / 2)),
      pool_(pool),
      metrics_(metrics),
      tree_(max_bytes_ / kTreeShare) {
  if (store_ != nullptr) TakeFound();
}

int64_t PrefixCache::host_bytes() const {
  return tree_.bytes() + tree_.states_on_host() * pool_.slot_bytes();
}

// Tokens that were added are memory too.
void PrefixCache::FitHost() {
  while (host_bytes() > max_bytes_ && tree_.OldestOnHost() != nullptr) {
    GiveUpOldestOnHost();
  }
  Publish();
}

void PrefixCache::Publish() {
  RemoveDropped();
  const int64_t drops = tree_.dropped_states();
  metrics_.AddPrefixCache(
      {.host_bytes = host_bytes() - published_bytes_,
       .pinned_bytes = pinned_bytes() - published_pinned_,
       .disk_bytes = tree_.stored_bytes() - published_stored_,
       .evictions = drops - published_drops_});
  published_bytes_ = host_bytes();
  published_pinned_ = pinned_bytes();
  published_stored_ = tree_.stored_bytes();
  published_drops_ = drops;
}

// Gives up states on the host until one more fits. False if none does, or if
// `mover` would be the next to go.
bool PrefixCache::MakeRoom(const PrefixTree::Node* mover) {
  if (tree_.bytes() + pool_.slot_bytes() > max_bytes_) return false;
  while (host_bytes() + pool_.slot_bytes() > max_bytes_) {
    if (mover != nullptr && tree_.Oldest() == mover) return false;
    if (tree_.OldestOnHost() == nullptr) return false;
    GiveUpOldestOnHost();
  }
  return true;
}

absl::StatusOr<StateBytes> PrefixCache::HostCopy(const StatePool::Slot& slot) {
  const auto size = static_cast<size_t>(pool_.slot_bytes());
  std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[size]);
  if (bytes == nullptr) return StateBytes();
  CHELA_RETURN_IF_ERROR(pool_.Save(slot, {bytes.get(), size}));
  return StateBytes(std::move(bytes));
}

absl::Status PrefixCache::MoveToHost(PrefixTree::Node& node, bool& moved) {
  moved = false;
  if (!MakeRoom(&node)) return absl::OkStatus();
  absl::StatusOr<StateBytes> copy = HostCopy(PrefixTree::StateOf(node).slot);
  CHELA_RETURN_IF_ERROR(copy.status());
  if (*copy == nullptr) return absl::OkStatus();
  tree_.Replace(node, {.slot = {}, .bytes = *std::move(copy)});
  moved = true;
  return absl::OkStatus();
}

absl::Status PrefixCache::FreeSlots(int32_t count) {
  if (pool_.free_slots() >= count || slots() == 0) return absl::OkStatus();
  int64_t left = std::max(kMovedBytes, pool_.slot_bytes());
  while (pool_.free_slots() < count && slots() > 0) {
    PrefixTree::Node& oldest = *tree_.OldestInSlot();
    left -= pool_.slot_bytes();
    if (left < 0) {
      tree_.Drop(oldest);
      continue;
    }
    bool moved = false;
    CHELA_RETURN_IF_ERROR(MoveToHost(oldest, moved));
    if (!moved) CHELA_RETURN_IF_ERROR(GiveUp(oldest));
  }
  Publish();
  return absl::OkStatus();
}

absl::Status PrefixCache::Save(std::string_view salt,
                               std::span<const int32_t> tokens,
                               const StatePool::Slot& slot) {
  if (tree_.StateAt(salt, tokens) != nullptr) return absl::OkStatus();
  CachedState state;
  if (pool_.free_slots() > 0) {
    absl::StatusOr<StatePool::Slot> free = pool_.Acquire();
    CHELA_RETURN_IF_ERROR(free.status());
    state.slot = *std::move(free);
    CHELA_RETURN_IF_ERROR(pool_.Copy(slot, state.slot));
  } else {
    if (!MakeRoom(nullptr)) return absl::OkStatus();
    absl::StatusOr<StateBytes> copy = HostCopy(slot);
    CHELA_RETURN_IF_ERROR(copy.status());
    if (*copy == nullptr) return absl::OkStatus();
    state.bytes = *std::move(copy);
  }
  tree_.Put(salt, tokens, std::move(state));
  FitHost();
  return absl::OkStatus();
}

}  // namespace chela
