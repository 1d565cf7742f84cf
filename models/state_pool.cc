#include "models/state_pool.h"

#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

absl::Status WrongSize(size_t got, int64_t want) {
  return absl::InvalidArgumentError(
      absl::StrCat("state: ", got, " bytes; want exactly ", want));
}

absl::Status NotAClaim() {
  return absl::InvalidArgumentError(
      "slot: no claim on this pool; want one from its Acquire");
}

}  // namespace

StatePool::StatePool(Backend& backend, StateLayout layout, int32_t num_slots,
                     std::unique_ptr<Buffer> buffer)
    : backend_(backend),
      layout_(layout),
      num_slots_(num_slots),
      buffer_(std::move(buffer)),
      free_(num_slots) {
  // The lowest id is given out first.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

absl::StatusOr<std::unique_ptr<StatePool>> StatePool::Create(
    Backend& backend, const ModelConfig& config, int32_t num_slots,
    bool poison_free_slots) {
  if (num_slots < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("state pool: ", num_slots, " slots; want at least 1"));
  }
  const StateLayout layout = config.state_layout();
  if (layout.slot_bytes() > std::numeric_limits<int64_t>::max() / num_slots) {
    return absl::ResourceExhaustedError(
        absl::StrCat("state pool: ", num_slots, " states of ",
                     layout.slot_bytes(), " bytes are more than 2^63 bytes"));
  }
  const int64_t bytes = layout.slot_bytes() * num_slots;
  absl::StatusOr<std::unique_ptr<Buffer>> buffer =
      backend.Allocate(static_cast<size_t>(bytes));
  if (!buffer.ok()) {
    return absl::Status(buffer.status().code(),
                        absl::StrCat("state pool: ", num_slots, " states of ",
                                     layout.slot_bytes(),
                                     " bytes: ", buffer.status().message()));
  }
  std::unique_ptr<StatePool> pool(
      new StatePool(backend, layout, num_slots, *std::move(buffer)));
  if (poison_free_slots) {
    pool->poison_.assign(static_cast<size_t>(layout.slot_floats),
                         std::numeric_limits<float>::quiet_NaN());
    for (int32_t id = 0; id < num_slots; ++id) pool->Poison(id);
  }
  return pool;
}

void StatePool::Release(int32_t id) {
  if (!poison_.empty()) Poison(id);
  free_.push_back(id);
}

void StatePool::Poison(int32_t id) {
  // A device that fails says so at the next step, too.
  backend_.Upload(poison_.data(), SlotData(id), slot_bytes()).IgnoreError();
}

absl::StatusOr<StatePool::Slot> StatePool::Acquire() {
  if (free_.empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("state pool: all ", num_slots_, " states are taken"));
  }
  const int32_t id = free_.back();
  free_.pop_back();
  return Slot(this, id);
}

absl::Status StatePool::Copy(const Slot& from, const Slot& to) {
  if (from.pool_ != this || to.pool_ != this) return NotAClaim();
  if (from.id_ == to.id_) return absl::OkStatus();
  return backend_.Copy(SlotData(from.id_), SlotData(to.id_),
                       static_cast<size_t>(slot_bytes()));
}

absl::Status StatePool::Clear(const Slot& slot) {
  if (slot.pool_ != this) return NotAClaim();
  return backend_.Clear(SlotData(slot.id_), static_cast<size_t>(slot_bytes()));
}

absl::Status StatePool::Save(const Slot& slot, std::span<std::byte> host) {
  if (slot.pool_ != this) return NotAClaim();
  if (host.size() != static_cast<size_t>(slot_bytes())) {
    return WrongSize(host.size(), slot_bytes());
  }
  return backend_.Download(SlotData(slot.id_), host.data(), host.size());
}

absl::Status StatePool::Restore(std::span<const std::byte> host,
                                const Slot& slot) {
  if (slot.pool_ != this) return NotAClaim();
  if (host.size() != static_cast<size_t>(slot_bytes())) {
    return WrongSize(host.size(), slot_bytes());
  }
  return backend_.Upload(host.data(), SlotData(slot.id_), host.size());
}

}  // namespace chela
