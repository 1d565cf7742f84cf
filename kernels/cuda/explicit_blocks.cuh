// Which blocks of kBlock rows of a group's time a chunk of the explicit
// convolution brings together, and how their spectra stand.
//
// Two rows i < t of one period of the ring (M rows) meet in the tile that ends
// at the largest dyadic multiple between them, rows of neighbouring periods in
// the tile of M that ends between those. Both are multiples of kBlock where the
// rows lie in two blocks, so that all rows of two blocks meet at one time, and
// a chunk brings two blocks together if that time lies in it. By the transform
// of explicit_transform.cuh the outputs of block j are
//   y = Im F^-1 (sum of F(inputs of block i) . G_(j-i)),
// where G_d is the transform of g_n = h_((d-1) B + n) + i h_(d B + n), B =
// kBlock; with h = 0 below lag 0, d = 0 is what a block does to itself. So each
// block is transformed once and each output once: a uniformly partitioned
// convolution.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_BLOCKS_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_BLOCKS_CUH_

#include "kernels/cuda/explicit_chunk.cuh"

namespace chela::cuda {

// Blocks are counted from the start of the period before the chunk's first
// token.
struct BlockPlan {
  int64_t base = 0;    // tau of block 0
  int first_cut = 0;   // the blocks that begin in the chunk, after its first
  int last_cut = 0;    // token, up to where it ends; none if last < first
  int own = 0;         // blocks from here to last_cut meet themselves
  int inputs = 0;      // the first block that meets any
  int outputs = 0;     // the block after the last one that is met
  int log_period = 0;  // M / kBlock
  bool cuts = false;   // block last_cut has tokens of the chunk, but not all
};

__device__ __forceinline__ BlockPlan PlanOf(const ExplicitView& view,
                                            const Chunk& chunk,
                                            int64_t origin) {
  const int64_t first = chunk.position + origin;
  const int64_t end = first + chunk.rows;
  const int period = view.ring >> kLogBlock;
  BlockPlan plan;
  plan.log_period = view.log_ring - kLogBlock;
  plan.base = ((first >> view.log_ring) - 1) << view.log_ring;
  const auto block_of = [&plan](int64_t tau) {
    return static_cast<int>((tau - plan.base) >> kLogBlock);
  };
  plan.first_cut = block_of(first) + 1;
  plan.last_cut = block_of(end);
  plan.cuts = (end & (kBlock - 1)) != 0;
  plan.own = FillFirstBlock({first, end}, origin) ? plan.first_cut - 1
                                                  : plan.first_cut;
  plan.inputs = plan.first_cut - 1;
  for (int cut = plan.first_cut; cut <= plan.last_cut; ++cut) {
    const int size = min(cut & -cut, period);
    plan.inputs = min(plan.inputs, cut - size);
    plan.outputs = max(plan.outputs, cut + size);
  }
  if (origin > plan.base) plan.inputs = max(plan.inputs, block_of(origin));
  return plan;
}

// The inputs that the chunk brings to the outputs of a block: blocks `first` up
// to before `end`, one after the other, none if end <= first. Of inputs that
// meet the block in a tile that ends at a cut, later ones have later cuts.
struct MetInputs {
  int first = 0;
  int end = 0;
};
__device__ __forceinline__ MetInputs InputsOf(const BlockPlan& plan,
                                              int block) {
  const auto log_tile = [block](int other) {
    return 31 - __clz(block ^ other);
  };
  MetInputs met = {block, block};
  if (block > plan.last_cut) {
    const int log_size = log_tile(plan.last_cut) + 1;
    if (log_size > plan.log_period) return {};
    met.end = block >> log_size << log_size;
  } else if (block >= plan.own && block < plan.last_cut) {
    met.end = block + 1;
  }
  if (block >= plan.first_cut) {
    const int log_size = log_tile(plan.first_cut - 1);
    met.first = log_size >= plan.log_period
                    ? block - (1 << plan.log_period)
                    : (block >> log_size << log_size) - (1 << log_size);
  }
  met.first = max(met.first, plan.inputs);
  return met;
}

// Where a row of a spectrum stands: the registers of the second pass, two by
// two, by lane.
__host__ __device__ constexpr int BlockSpectrumIndex(int row) {
  const int lane = row >> 5;
  const int held = row & 31;
  return ((held >> 1) << 6) | (lane << 1) | (held & 1);
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_BLOCKS_CUH_
