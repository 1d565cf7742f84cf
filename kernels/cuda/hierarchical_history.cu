// The history of chunks of the hierarchical convolution (steps 1 and 2 of
// hierarchical_chunks.cu).
#include <algorithm>

#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_sums.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kSpanLevels = 9;
constexpr int kSpan = 1 << kSpanLevels;
constexpr int kPieceLevels = 5;  // a warp's part of a span
constexpr int kPiece = 1 << kPieceLevels;
constexpr int kWarps = kSpan / kPiece;
constexpr int64_t kMostShared = 64 * 1024;  // of the past

// Keeps blocks of a level, from the one numbered `block` on, that began in the
// chunk and enter the ring there.
template <int kCount>
__device__ __forceinline__ void Keep(const History& history, int level,
                                     int64_t block, const float* means) {
  const int64_t width = history.op.width;
  float* const to = &history.Block(level, block);
  const int64_t first = ((history.chunk.position - 1) >> level) + 1;
  const int64_t newest = history.Newest(level);
  if (block >= first && block + kCount - 1 <= newest) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i * width] = means[i];
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (block + i >= first && block + i <= newest) to[i * width] = means[i];
  }
}

// Levels kLevel to kStop of what begins at a position, from 2 kCount blocks of
// the level below; `fine`: keeps those that runs make again, too. Of the last
// level there is one, the first of `blocks`.
template <int kLevel, int kStop, int kCount>
__device__ __forceinline__ void MakeLevels(const History& history,
                                           int64_t begin, bool in_width,
                                           bool fine, float* blocks) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    blocks[i] = Mean(blocks[2 * i], blocks[2 * i + 1]);
  }
  if (in_width && kLevel <= history.op.levels &&
      (fine || kLevel >= kRunLevels)) {
    Keep<kCount>(history, kLevel, begin >> kLevel, blocks);
  }
  if constexpr (kLevel < kStop) {
    MakeLevels<kLevel + 1, kStop, kCount / 2>(history, begin, in_width, fine,
                                              blocks);
  }
}

// Every block inside a span of the absolute grid that began in the chunk.
__device__ __forceinline__ void MakeSpan(const History& history, int64_t begin,
                                         bool in_width) {
  __shared__ float pieces[kWarps][kLanes];
  const HierarchicalConvolution& op = history.op;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int64_t own = begin + warp * kPiece;
  const int64_t row = own - history.chunk.position;
  const float* const a =
      op.a + (history.chunk.first_row + row) * op.width + history.channel;
  float blocks[kPiece];
  if (in_width && row >= 0 && row + kPiece <= history.chunk.rows) {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) blocks[i] = a[int64_t{i} * op.width];
  } else {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) {
      blocks[i] = in_width && row + i >= 0 && row + i < history.chunk.rows
                      ? a[int64_t{i} * op.width]
                      : 0.0f;
    }
  }
  const bool fine = op.base_length != kRunBase ||
                    own < history.FineKeptBefore() ||
                    own + kPiece > history.FineKeptFrom();
  MakeLevels<1, kPieceLevels, kPiece / 2>(history, own, in_width, fine, blocks);
  pieces[warp][lane] = blocks[0];
  __syncthreads();
  if (warp > 0) return;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) blocks[i] = pieces[i][lane];
  MakeLevels<kPieceLevels + 1, kSpanLevels, kWarps / 2>(history, begin,
                                                        in_width, true, blocks);
}

// The last B inputs and blocks of each level before a chunk, by how many they
// lie back (1 to B): first what the rings hold, B/2 and more back, then what is
// made of it. In shared memory where there is room, else in the history.
struct Past {
  const History& history;
  float* rows;  // [levels + 1][B][kLanes], of the lane, or null

  __device__ float& At(int level, int back) const {
    return rows[(level * history.op.base_length + back - 1) * kLanes];
  }
  __device__ float& InHistory(int level, int back) const {
    const int64_t newest = history.chunk.position >> level;
    return level == 0 ? history.data[int64_t{history.op.base_length - back} *
                                         history.op.width +
                                     history.channel]
                      : history.Block(level, newest - back);
  }
  __device__ float Get(int level, int back) const {
    return rows != nullptr ? At(level, back) : InHistory(level, back);
  }
  __device__ void Set(int level, int back, float value) const {
    if (rows != nullptr) At(level, back) = value;
    // A short chunk needs no more than what enters the rings.
    const int64_t block = (history.chunk.position >> level) - back;
    if (level == 0 || block <= history.Newest(level)) {
      InHistory(level, back) = value;
    }
  }
};

// The rings as they are. A new sequence has none; its blocks before the start
// are 0.
__device__ __forceinline__ void CopyRings(const Past& past, int warp) {
  const History& history = past.history;
  const float* const state = history.State();
  const int64_t width = history.op.width;
  const int rows = RingRow::Count(history.op);
  constexpr int kAtOnce = 4;  // loads under way
  for (int begin = warp; begin < rows; begin += kWarps * kAtOnce) {
    float values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const RingRow row(history.op, history.chunk.position,
                        min(begin + i * kWarps, rows - 1));
      values[i] = row.block < 0 ? 0.0f : state[row.row * width];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (begin + i * kWarps >= rows) continue;
      const RingRow row(history.op, history.chunk.position, begin + i * kWarps);
      past.Set(row.level, row.back, values[i]);
    }
  }
}

// Copies the rings and makes the blocks that ended before the chunk and were
// not in them yet, each level of the one below.
__device__ __forceinline__ void MakePast(const History& history, bool shared,
                                         bool in_width) {
  extern __shared__ float rows[];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const Past past{history, shared ? rows + lane : nullptr};
  if (in_width) CopyRings(past, warp);
  for (int level = 1; level <= history.op.levels; ++level) {
    __syncthreads();  // the level below is whole
    const int odd = static_cast<int>(history.chunk.position >> (level - 1) & 1);
    for (int back = 1 + warp; in_width && back < history.half();
         back += kWarps) {
      past.Set(level, back,
               Mean(past.Get(level - 1, 2 * back + odd),
                    past.Get(level - 1, 2 * back + odd - 1)));
    }
  }
}

// Blocks along z: the past, then the spans.
__global__ void __launch_bounds__(kWarps* kLanes, 2)
    MakeHistory(const __grid_constant__ HierarchicalConvolution op,
                const Chunk* chunks, bool shared, float* scratch) {
  __shared__ LevelRows levels;
  LetLaterStart();
  WaitForEarlier();
  const int index = static_cast<int>(blockIdx.y);
  const Chunk chunk = chunks[index];
  levels.Fill(op, chunk);
  __syncthreads();
  const int channel = static_cast<int>(blockIdx.x) * kLanes +
                      static_cast<int>(threadIdx.x) % kLanes;
  const History history(op, chunk, levels, scratch, index, channel);
  const bool in_width = channel < op.width;
  if (blockIdx.z == 0) {
    MakePast(history, shared, in_width);
  } else {
    const int64_t begin =
        ((chunk.position >> kSpanLevels) + blockIdx.z - 1) * kSpan;
    if (begin < history.end()) MakeSpan(history, begin, in_width);
  }
}

// The blocks of a level that began before the chunk and end inside, and those
// wider than a span: [first, stop), of which only such count as enter the ring.
struct LateBlocks {
  int64_t first;
  int64_t stop;

  __host__ __device__ LateBlocks(const HierarchicalConvolution& op,
                                 const Chunk& chunk, int level) {
    const int64_t newest =
        ((chunk.position + chunk.rows) >> level) - op.base_length / 2;
    first = chunk.position >> level;
    stop = newest + 1;
    if (level <= kSpanLevels) {
      const int64_t began = (first << level) == chunk.position ? 0 : 1;
      stop = stop < first + began ? stop : first + began;
    }
  }
};

// Level after level, since each is made of the one below.
__global__ void __launch_bounds__(kWarps* kLanes)
    MakeLateBlocks(const __grid_constant__ HierarchicalConvolution op,
                   const Chunk* chunks, float* scratch) {
  __shared__ LevelRows levels;
  LetLaterStart();
  WaitForEarlier();
  const int index = static_cast<int>(blockIdx.y);
  const Chunk chunk = chunks[index];
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes +
                      static_cast<int>(threadIdx.x) % kLanes;
  const History history(op, chunk, levels, scratch, index, channel);
  levels.Fill(op, chunk);
  for (int level = 1; level <= op.levels; ++level) {
    const LateBlocks late(op, chunk, level);
    if (late.first >= late.stop) continue;
    __syncthreads();  // the level below is whole
    for (int64_t block = late.first + warp;
         channel < op.width && block < late.stop; block += kWarps) {
      history.Block(level, block) =
          level == 1
              ? Mean(history.Input(2 * block), history.Input(2 * block + 1))
              : Mean(history.Block(level - 1, 2 * block),
                     history.Block(level - 1, 2 * block + 1));
    }
  }
}

// Most steps have none.
bool HaveLateBlocks(const HierarchicalConvolution& op,
                    const ChunkList& chunks) {
  for (int32_t i = 0; i < chunks.count; ++i) {
    for (int level = 1; level <= op.levels; ++level) {
      const LateBlocks late(op, chunks.host[i], level);
      if (late.first < late.stop) return true;
    }
  }
  return false;
}

}  // namespace

int64_t HistoryFloats(const HierarchicalConvolution& op, int64_t rows,
                      int32_t chunks) {
  return (rows + chunks * HistoryRows(op)) * op.width;
}

cudaError_t LaunchHistory(const HierarchicalConvolution& op,
                          const ChunkList& chunks, bool overlap, float* history,
                          cudaStream_t stream) {
  int64_t spans = 1;
  for (int32_t i = 0; i < chunks.count; ++i) {
    const Chunk& chunk = chunks.host[i];
    spans = std::max(spans, ((chunk.position + chunk.rows - 1) >> kSpanLevels) -
                                (chunk.position >> kSpanLevels) + 1);
  }
  const int64_t bytes = (int64_t{op.levels} + 1) * op.base_length * kLanes *
                        static_cast<int64_t>(sizeof(float));
  const bool shared = bytes <= kMostShared;
  LaunchShape shape;
  shape.stream = stream;
  shape.overlap = overlap;
  shape.block = dim3(kWarps * kLanes);
  shape.grid =
      dim3(Blocks(op.width, kLanes), static_cast<unsigned>(chunks.count),
           static_cast<unsigned>(spans) + 1);
  shape.shared_bytes = shared ? static_cast<size_t>(bytes) : 0;
  const cudaError_t error =
      Launch(shape, MakeHistory, op, chunks.chunks, shared, history);
  if (error != cudaSuccess || !HaveLateBlocks(op, chunks)) return error;
  shape.grid.z = 1;
  shape.shared_bytes = 0;
  return Launch(shape, MakeLateBlocks, op, chunks.chunks, history);
}

}  // namespace chela::cuda
