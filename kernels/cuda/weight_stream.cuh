// The weights of a whole step as one stream through shared memory.
//
// A warp of its own asks for them with bulk copies, in the order of their use,
// as far ahead as there is room: across products, stages and layers. The ring's
// places are all of one size; an item is up to 1,024 inputs of 8 rows.
#ifndef CHELA_KERNELS_CUDA_WEIGHT_STREAM_CUH_
#define CHELA_KERNELS_CUDA_WEIGHT_STREAM_CUH_

#include <cstdint>

#include "kernels/cuda/product_math.cuh"
#include "kernels/cuda/whole_step.h"

namespace chela::cuda {

inline constexpr int kStepWorkers = 256;  // threads: a warp for each slice
inline constexpr int kStepThreads = kStepWorkers + 32;  // and the stream's warp
inline constexpr int kUnitRows = 8;                     // of a weight
inline constexpr int kItemChunks = 16;                  // at most
inline constexpr int kGroupUnits = 7;  // that are summed side by side at most
inline constexpr int kStepStages = 4;  // of a layer

// The threads that compute.
__device__ __forceinline__ void SyncWorkers() {
  asm volatile("bar.sync 1, %0;" ::"n"(kStepWorkers) : "memory");
}

// A block's part of one of a layer's products, the same in every layer: whole
// units of 8 rows. Of a gated product units come in pairs, 8 rows of the gate
// and 8 of the rows that belong to them.
struct StepProduct {
  int32_t first = 0;  // unit
  int32_t units = 0;
};

// What a block multiplies in one stage: the units of one product, or of two
// with as many inputs.
struct StepStage {
  int32_t stride = 0;  // elements of a row
  int32_t second = 0;  // rows from a pair's first to its second part; 0: none
  int32_t weight = 0;  // StepWeight of the first product
  StepProduct products[3];  // the third one is more rows of the second
  int32_t early = 0;        // units whose sums are posted before the others'
  int32_t parts = 0;        // items of a unit
  int32_t part_chunks = 0;  // of an item; the last one may have fewer
  int32_t group = 0;        // units that are summed side by side

  // Cuts the rows into items. A group that is not the whole stage leaves most
  // of the ring to what comes next.
  __device__ __forceinline__ void Cut() {
    const int chunks = stride / kChunk;
    parts = (chunks + kItemChunks - 1) / kItemChunks;
    part_chunks = (chunks + parts - 1) / parts;
    group = parts == 1 ? kGroupUnits : parts == 2 ? 2 : 1;
  }
  __device__ __forceinline__ int units() const {
    return products[0].units + products[1].units + products[2].units;
  }
  // Of the group that begins at `unit`.
  __device__ __forceinline__ int GroupUnits(int unit) const {
    return min(group, (unit < early ? early : units()) - unit);
  }
  __device__ __forceinline__ bool IsSecond(int unit) const {
    return unit >= products[0].units;
  }
  // Of its own product.
  __device__ __forceinline__ int Row(int unit) const {
    if (IsSecond(unit)) {
      const int at = unit - products[0].units;
      const int more = at - products[1].units;
      return (more < 0 ? products[1].first + at : products[2].first + more) *
             kUnitRows;
    }
    const int at = products[0].first + unit;
    return second == 0 ? at * kUnitRows
                       : (at >> 1) * kUnitRows + (at & 1) * second;
  }
  // Bytes between an item's rows: the 64 more let the eight rows that a warp
  // reads at once lie in different banks.
  __device__ __forceinline__ int Pitch() const {
    return part_chunks * kChunk * 2 + 64;
  }
};

struct StreamBarriers {
  static constexpr int kPlaces = 11;
  static constexpr int kPlaceBytes =
      kUnitRows * (kItemChunks * kChunk * 2 + 64);
  static constexpr int kBytes = kPlaces * kPlaceBytes;

  uint64_t full[kPlaces];   // the stream's warp, and the bytes
  uint64_t empty[kPlaces];  // every worker's warp

  // By one thread, before everybody's barrier.
  __device__ __forceinline__ void Init() {
    for (int i = 0; i < kPlaces; ++i) {
      Init(&full[i], 1);
      Init(&empty[i], kSlices);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  static __device__ __forceinline__ uint32_t Address(const void* shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  }
  static __device__ __forceinline__ void Init(uint64_t* barrier, int count) {
    asm volatile(
        "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(Address(barrier)),
        "r"(count)
        : "memory");
  }
  static __device__ __forceinline__ void Arrive(uint64_t* barrier) {
    asm volatile(
        "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(Address(barrier))
        : "memory");
  }
  static __device__ __forceinline__ void Expect(uint64_t* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     Address(barrier)),
                 "r"(bytes)
                 : "memory");
  }
  static __device__ __forceinline__ void Wait(uint64_t* barrier, int phase) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(Address(barrier)),
        "r"(phase)
        : "memory");
  }
  static __device__ __forceinline__ void Copy(void* to, const void* from,
                                              int bytes, uint64_t* barrier,
                                              uint64_t policy) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes."
        "L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(Address(to)),
        "l"(from), "r"(bytes), "r"(Address(barrier)), "l"(policy)
        : "memory");
  }
};

// A place in the ring, and how often it was come by.
struct RingPlace {
  __device__ __forceinline__ void Move(int items) {
    at += items;
    if (at >= StreamBarriers::kPlaces) {
      at -= StreamBarriers::kPlaces;
      phase ^= 1;
    }
  }
  int at = 0;
  int phase = 0;
};

// What the stream's warp does: everything there is, stage by stage, group of
// units by group, part by part, unit by unit.
__device__ inline void StreamWeights(const StepStage* stages,
                                     const uint16_t* const* bases, int layers,
                                     unsigned char* ring,
                                     StreamBarriers& barriers) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // They pass once: everything else stays in the second-level cache.
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(policy));
  RingPlace place;
  for (int i = 0; i < layers * kStepStages; ++i) {
    const StepStage stage = stages[i % kStepStages];
    const uint16_t* const* const base =
        bases + i / kStepStages * kStepProducts + stage.weight;
    const int chunks = stage.stride / kChunk;
    int units = 0;
    for (int group = 0; group < stage.units(); group += units) {
      units = stage.GroupUnits(group);
      for (int item = 0; item < units * stage.parts; ++item) {
        const int part = item / units;
        const int unit = group + item % units;
        const int first = part * stage.part_chunks;
        const int bytes = min(stage.part_chunks, chunks - first) * kChunk * 2;
        const uint16_t* const from =
            base[stage.IsSecond(unit) ? 1 : 0] +
            int64_t{stage.Row(unit) + lane % kUnitRows} * stage.stride +
            first * kChunk;
        // The first time round every place is free.
        StreamBarriers::Wait(&barriers.empty[place.at], place.phase ^ 1);
        if (lane == 0) {
          StreamBarriers::Expect(&barriers.full[place.at], kUnitRows * bytes);
        }
        __syncwarp();
        if (lane < kUnitRows) {
          StreamBarriers::Copy(ring + place.at * StreamBarriers::kPlaceBytes +
                                   lane * stage.Pitch(),
                               from, bytes, &barriers.full[place.at], policy);
        }
        place.Move(1);
      }
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_WEIGHT_STREAM_CUH_
