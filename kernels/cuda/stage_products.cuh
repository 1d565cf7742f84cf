// What a block's warps make of the weights that stream by: the sums of a stage.
#ifndef CHELA_KERNELS_CUDA_STAGE_PRODUCTS_CUH_
#define CHELA_KERNELS_CUDA_STAGE_PRODUCTS_CUH_

#include "kernels/cuda/product_math.cuh"
#include "kernels/cuda/weight_stream.cuh"

namespace chela::cuda {

// d += x w for a row x and 8 outputs of kUnits units each, over the inputs of a
// chunk. The weights stand where product_math.cuh has the rows and the other
// way round; products and their order are the same. Units take turns, since an
// instruction waits long for the one before it of the same unit.
template <typename T, int kUnits>
__device__ __forceinline__ void MultiplyChunk(float (&d)[kUnits][4],
                                              const uint4& low,
                                              const uint4& high,
                                              const LaneWeights (&w)[kUnits]) {
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    MultiplyAdd<T>(d[i], low.x, 0, low.y, 0, w[i].low.x, w[i].low.y);
  }
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    MultiplyAdd<T>(d[i], low.z, 0, low.w, 0, w[i].low.z, w[i].low.w);
  }
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    MultiplyAdd<T>(d[i], high.x, 0, high.y, 0, w[i].high.x, w[i].high.y);
  }
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    MultiplyAdd<T>(d[i], high.z, 0, high.w, 0, w[i].high.z, w[i].high.w);
  }
}

// A warp's part in one group of a stage's units.
struct GroupWork {
  const StepStage& stage;
  const unsigned char* ring;
  StreamBarriers& barriers;
  RingPlace place;  // of its first item
  int group;        // its first unit
  int units;

  __device__ __forceinline__ RingPlace Item(int i) const {
    RingPlace item = place;
    item.Move(i);
    return item;
  }
  // Until all of it is there.
  __device__ __forceinline__ void Wait() const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane < units * stage.parts) {
      const RingPlace item = Item(lane);
      StreamBarriers::Wait(&barriers.full[item.at], item.phase);
    }
    __syncwarp();
  }
  // Its places are free for this warp. All were waited for, other slices' too:
  // else this warp could be done with a place twice before another one is once.
  __device__ __forceinline__ void Free() const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    __syncwarp();
    if (lane < units * stage.parts) {
      StreamBarriers::Arrive(&barriers.empty[Item(lane).at]);
    }
  }
  // Sums over this warp's slice for one row and the units from `first` of the
  // group on: to[8 unit + row of the unit].
  template <typename T, int kUnits>
  __device__ __forceinline__ void Run(const uint16_t* left, int first,
                                      float* to) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int slice = static_cast<int>(threadIdx.x) / 32;
    const int begin = SliceBegin(stage.stride, slice);
    const int end = SliceBegin(stage.stride, slice + 1);
    float sums[kUnits][4] = {};
    int items = first;
    for (int part = 0; part < end; part += stage.part_chunks) {
      const int last = min(end, part + stage.part_chunks);
      const unsigned char* from[kUnits];
#pragma unroll
      for (int i = 0; i < kUnits; ++i) {
        from[i] = ring + Item(items + i).at * StreamBarriers::kPlaceBytes +
                  lane / 4 * stage.Pitch() + lane % 4 * 16 - part * kChunk * 2;
      }
#pragma unroll 2
      for (int chunk = max(begin, part); chunk < last; ++chunk) {
        uint4 low = make_uint4(0, 0, 0, 0);
        uint4 high = low;
        if (lane < 4) {  // row 0 of eight
          const uint4* const inputs =
              reinterpret_cast<const uint4*>(left + chunk * kChunk + lane * 8);
          low = inputs[0];
          high = inputs[kChunk / 2 / 8];
        }
        LaneWeights weights[kUnits];
#pragma unroll
        for (int i = 0; i < kUnits; ++i) {
          const unsigned char* const at = from[i] + chunk * kChunk * 2;
          weights[i] = {*reinterpret_cast<const uint4*>(at),
                        *reinterpret_cast<const uint4*>(at + kChunk)};
        }
        MultiplyChunk<T, kUnits>(sums, low, high, weights);
      }
      items += units;
    }
    if (lane >= 4) return;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      *reinterpret_cast<float2*>(to + (group + first + i) * kUnitRows +
                                 2 * lane) =
          make_float2(sums[i][0], sums[i][1]);
    }
  }
  // left: the row for the first product, left + shift for the second.
  template <typename T>
  __device__ __forceinline__ void Multiply(const uint16_t* left, int shift,
                                           float* to) const {
    const int of_first = min(max(stage.products[0].units - group, 0), units);
#pragma unroll 1
    for (int first = 0; first < units;) {
      const bool second = first >= of_first;
      const uint16_t* const row = left + (second ? shift : 0);
      const int count = second ? units - of_first : of_first;
      switch (count) {
        case 1:
          Run<T, 1>(row, first, to);
          break;
        case 2:
          Run<T, 2>(row, first, to);
          break;
        case 3:
          Run<T, 3>(row, first, to);
          break;
        case 4:
          Run<T, 4>(row, first, to);
          break;
        case 5:
          Run<T, 5>(row, first, to);
          break;
        case 6:
          Run<T, 6>(row, first, to);
          break;
        case 7:
          Run<T, 7>(row, first, to);
          break;
      }
      first += count;
    }
  }
};

// A stage's groups, one after the other.
class StageWork {
 public:
  __device__ __forceinline__ StageWork(const StepStage& stage,
                                       const unsigned char* ring,
                                       StreamBarriers& barriers,
                                       const RingPlace& place)
      : work_{stage, ring, barriers, place, 0, stage.GroupUnits(0)} {}
  // For the first group's weights, which need none of the stage's inputs.
  __device__ __forceinline__ void Wait() const { work_.Wait(); }
  // The groups in front of unit `end`.
  template <typename T>
  __device__ __forceinline__ void Multiply(const uint16_t* left, int shift,
                                           int end, float* to) {
#pragma unroll 1
    while (work_.units > 0) {
      work_.template Multiply<T>(left, shift, to);
      if (work_.group + work_.units >= end) return;
      Next();
    }
  }
  // Goes on to the next group, which there is.
  __device__ __forceinline__ void Next() {
    work_.Free();
    Move();
    work_.Wait();
  }
  // Frees the last group's places; gives where the next stage's begin.
  __device__ __forceinline__ RingPlace Free() {
    work_.Free();
    Move();
    return work_.place;
  }

 private:
  __device__ __forceinline__ void Move() {
    work_.place.Move(work_.units * work_.stage.parts);
    work_.group += work_.units;
    work_.units = work_.stage.GroupUnits(work_.group);
  }
  GroupWork work_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STAGE_PRODUCTS_CUH_
