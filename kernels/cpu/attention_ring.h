#ifndef CHELA_KERNELS_CPU_ATTENTION_RING_H_
#define CHELA_KERNELS_CPU_ATTENTION_RING_H_

#include <cstdint>

#include "kernels/linear_attention.h"

namespace chela {

// One head's ring of attention replay (kernels/attention_replay.h) as a step
// finds it. Pointers are into the slot's state.
class AttentionRing {
 public:
  // decay^0 .. decay^R, each to float32's last bit.
  struct Powers {
    explicit Powers(float decay);
    float of[kMaxReplay + 1];
  };

  AttentionRing(const LinearAttention& op, const Segment& segment,
                int64_t head);

  int64_t entries() const { return entries_; }
  // Whether the segment's token ends a period.
  bool flush() const { return flush_; }
  float* keys(int64_t entry) const { return keys_ + entry * key_dim_; }
  float* values(int64_t entry) const { return values_ + entry * value_dim_; }
  // After the step: what the next one finds. No task of the step may read the
  // ring any more.
  void SetEntries(int64_t entries) const {
    *count_ = static_cast<float>(entries);
  }

 private:
  int64_t key_dim_;
  int64_t value_dim_;
  float* keys_;
  float* values_;
  float* count_;
  int64_t entries_ = 0;
  bool flush_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_ATTENTION_RING_H_
