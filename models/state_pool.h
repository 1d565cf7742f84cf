#ifndef CHELA_MODELS_STATE_POOL_H_
#define CHELA_MODELS_STATE_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"

namespace chela {

// A fixed number of equal recurrent states in one block of backend memory,
// allocated at start: admission is exact, and nothing grows while serving.
// A sequence holds one slot from admission to its last token. Copy, Save and
// Restore of a whole slot are the only operations; a sequence's first tokens
// (position 0) start from zero whatever the slot holds.
//
// Threads: owned by one thread (the engine's).
class StatePool {
 public:
  // A claim on one slot, given back when it is destroyed. Move-only. Must not
  // outlive its pool.
  class Slot {
   public:
    Slot() = default;  // Claims nothing.
    Slot(Slot&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Slot() {
      if (pool_ != nullptr) pool_->Release(id_);
    }
    bool valid() const { return pool_ != nullptr; }
    int32_t id() const { return id_; }

   private:
    friend class StatePool;
    Slot(StatePool* pool, int32_t id) : pool_(pool), id_(id) {}
    StatePool* pool_ = nullptr;
    int32_t id_ = -1;
  };

  // RESOURCE_EXHAUSTED if num_slots states do not fit. `backend` must outlive
  // the pool. poison_free_slots: fills each slot that nobody claims with NaN,
  // so that whoever reads what he has not written finds out. For debugging.
  static absl::StatusOr<std::unique_ptr<StatePool>> Create(
      Backend& backend, const ModelConfig& config, int32_t num_slots,
      bool poison_free_slots = false);
  StatePool(const StatePool&) = delete;

  // RESOURCE_EXHAUSTED if every slot is taken; the pool never grows.
  absl::StatusOr<Slot> Acquire();

  absl::Status Copy(const Slot& from, const Slot& to);
  // Zeros the slot. A sequence may leave parts of its state as the slot's last
  // owner left them, since it never reads them: what is to be saved is cleared
  // first, so that nobody gets a byte of somebody else's.
  absl::Status Clear(const Slot& slot);
  // The raw state: host has exactly slot_bytes().
  absl::Status Save(const Slot& slot, std::span<std::byte> host);
  absl::Status Restore(std::span<const std::byte> host, const Slot& slot);

  int32_t num_slots() const { return num_slots_; }
  int32_t free_slots() const { return static_cast<int32_t>(free_.size()); }
  int64_t slot_bytes() const { return layout_.slot_bytes(); }
  const StateLayout& layout() const { return layout_; }
  float* data() { return static_cast<float*>(buffer_->data()); }

 private:
  StatePool(Backend& backend, StateLayout layout, int32_t num_slots,
            std::unique_ptr<Buffer> buffer);
  void Release(int32_t id);
  void Poison(int32_t id);
  float* SlotData(int32_t id) { return data() + id * layout_.slot_floats; }

  Backend& backend_;
  StateLayout layout_;
  int32_t num_slots_;
  std::unique_ptr<Buffer> buffer_;
  std::vector<int32_t> free_;
  std::vector<float> poison_;  // a slot's; empty: free slots stay as they are
};

}  // namespace chela

#endif  // CHELA_MODELS_STATE_POOL_H_
