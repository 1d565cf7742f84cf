#include "kernels/cpu/attention_ring.h"

namespace chela {

AttentionRing::Powers::Powers(float decay) {
  double power = 1;
  for (float& value : of) {
    value = static_cast<float>(power);
    power *= double{decay};
  }
}

AttentionRing::AttentionRing(const LinearAttention& op, const Segment& segment,
                             int64_t head)
    : key_dim_(op.key_dim), value_dim_(op.value_dim) {
  const AttentionReplay& replay = op.replay;
  keys_ = replay.ring.data + segment.slot * replay.ring.slot_stride +
          head * replay.head_floats(key_dim_, value_dim_);
  values_ = keys_ + replay.values_at(key_dim_);
  count_ = keys_ + replay.count_at(key_dim_);
  const int64_t last = replay.period - 1;
  const bool fresh = segment.position == 0;
  // A state may come from anybody: a count that is none counts as 0.
  if (!fresh && *count_ >= 1 && *count_ <= static_cast<float>(last)) {
    entries_ = static_cast<int64_t>(*count_);
  }
  const auto place = static_cast<uint64_t>(segment.position) +
                     static_cast<uint64_t>(replay.offset) +
                     static_cast<uint64_t>(head);
  flush_ = fresh || entries_ == last ||
           place % static_cast<uint64_t>(replay.period) == 0;
}

}  // namespace chela
