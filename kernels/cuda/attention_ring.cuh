// The ring of attention replay (kernels/attention_replay.h) on the device.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_

#include <cstdint>

#include "kernels/cuda/attention_math.cuh"

namespace chela::cuda {

// One head's ring as a step finds it.
struct Ring {
  float* keys;    // [period, key_dim]
  float* values;  // [period, value_dim]
  float* count;
  // What there is where no chunk ended since the last period did: known before
  // the count is, for asking ahead.
  int expected;
  int entries;
  bool flush;  // the token ends a period

  __device__ Ring(const LinearAttention& op, int64_t slot, int64_t position,
                  int head) {
    const AttentionReplay& replay = op.replay;
    const int period = replay.period;
    keys = replay.ring.data + slot * replay.ring.slot_stride +
           int64_t{head} * period * (op.key_dim + op.value_dim);
    values = keys + int64_t{period} * op.key_dim;
    count = keys + int64_t{period - 1} * op.key_dim;
    const bool fresh = position == 0;
    // A state may come from anybody: a count that is none counts as 0.
    const float stored = fresh ? 0.0f : __ldcg(count);
    const uint64_t place = static_cast<uint64_t>(position) +
                           static_cast<uint64_t>(replay.offset) +
                           static_cast<uint64_t>(head);
    const int phase = Remainder(place, static_cast<uint32_t>(period));
    expected = fresh ? 0 : (phase == 0 ? period : phase) - 1;
    const bool counts =
        stored >= 1.0f && stored <= static_cast<float>(period - 1);
    entries = counts ? static_cast<int>(stored) : 0;
    flush = fresh || entries == period - 1 || phase == 0;
  }

 private:
  // 64 bits take many times as long.
  __device__ static int Remainder(uint64_t x, uint32_t by) {
    return static_cast<int>(x >> 32 == 0 ? static_cast<uint32_t>(x) % by
                                         : x % by);
  }
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_
