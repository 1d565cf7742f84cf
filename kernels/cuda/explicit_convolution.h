#ifndef CHELA_KERNELS_CUDA_EXPLICIT_CONVOLUTION_H_
#define CHELA_KERNELS_CUDA_EXPLICIT_CONVOLUTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/rounded_out.h"
#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// Lags whose taps stand as they are: what a tile of kDirectTile rows reaches.
inline constexpr int kDirectTile = 64;
inline constexpr int kDirectTaps = 2 * kDirectTile;
// Larger tiles go through a transform (explicit_transform.cuh), up to this.
inline constexpr int kMaxExplicitRing = 16384;
// Where M is at least twice this and thread blocks may have the shared memory
// for it (which those of compute capability 8.x have not), chunks are cut into
// blocks of this many rows on the grid of a group's time (explicit_blocks.cuh).
inline constexpr int kLogBlock = 10;
inline constexpr int kBlock = 1 << kLogBlock;

// An explicit kernel in device memory.
struct ExplicitView {
  const float* taps = nullptr;      // [groups, kDirectTaps, lanes]: by lag
  const float2* spectra = nullptr;  // [groups, 2M - kDirectTaps, lanes]: of the
                                    // tiles of 128, 256 .. M, U rows each, in
                                    // the order of SpectrumIndex
  const float2* roots = nullptr;    // [M / 2]: see RootIndex
  // [32 groups, M / kBlock + 1, kBlock]: of whole blocks by their distance, in
  // the order of BlockSpectrumIndex; null unless by_blocks.
  const float2* blocks = nullptr;
  // [32 groups, kBlock]: taps by lag, 0 beyond N; null likewise.
  const float* lags = nullptr;
  int32_t width = 0;
  int32_t groups = 0;
  int32_t ring = 0;  // M, at most kMaxExplicitRing
  int32_t log_ring = 0;
  int32_t origin_stride = 0;  // explicit_layout.h
  bool by_blocks = false;     // chunks are cut into blocks
};

// The tap table and the spectra of a kernel. raw: device, [width, length].
// scratch: [kSpectrumChannels, M] complex float64.
inline constexpr int kSpectrumChannels = 256;
cudaError_t LaunchMakeTaps(const ExplicitView& view, const float* raw,
                           int64_t length, float* taps, cudaStream_t stream);
cudaError_t LaunchMakeLags(const ExplicitView& view, const float* raw,
                           int64_t length, float* lags, cudaStream_t stream);
cudaError_t LaunchMakeSpectra(const ExplicitView& view, const float* raw,
                              int64_t length, double2* scratch, float2* spectra,
                              cudaStream_t stream);
cudaError_t LaunchMakeBlockSpectra(const ExplicitView& view, const float* raw,
                                   int64_t length, double2* scratch,
                                   float2* blocks, cudaStream_t stream);

// The token of each decode row: its output, and the input into the state. A
// second copy of c goes to `copy`. max_rows: at least the rows that exist.
cudaError_t LaunchEmit(const ExplicitConvolution& op, const ExplicitView& view,
                       const RoundedOut& copy, const DecodeRows& rows,
                       int32_t max_rows, bool overlap, cudaStream_t stream);
// The tiles that those tokens end, of layers whose kernels have one shape: all
// that a step has at once, or each layer would wait for its longest tile.
inline constexpr int32_t kMostTileLayers = 32;
struct DecodeTileLayers {
  struct Layer {
    ExplicitView view;
    StateView state;
    int32_t layer = 0;
  };
  Layer layers[kMostTileLayers];
  int32_t count = 0;
};
// In device memory, zeros; zeros again when the tiles are done.
struct TileTickets {
  int32_t next = 0;  // items that were handed out beyond the first ones
  int32_t done = 0;  // blocks
};
// modern: a device of compute capability 9.0 or newer.
cudaError_t LaunchTiles(const DecodeTileLayers& tiles, const DecodeRows& rows,
                        int32_t max_rows, int32_t processors, bool modern,
                        TileTickets* tickets, cudaStream_t stream);

// Chunks where M <= kDirectTile: token by token.
cudaError_t LaunchShortRing(const ExplicitConvolution& op,
                            const ExplicitView& view, const Chunk* chunks,
                            int32_t count, cudaStream_t stream);

// Chunks otherwise. The time of a group (tau) is cut at multiples of M and a
// chunk into phases, one after the other, that do not cross them. All inputs of
// a chunk are known, so the tiles of one size run side by side. In order:
//   begin   c = pending outputs + skip . a; the inputs into the state;
//   tiles   of M/2, M/4 .. 128, for outputs in the chunk and beyond;
//   near    what the 128 rows around each output add directly;
//   tiles   of M.
// A tile that is later in time is smaller for every output beyond the chunk, so
// this order is that of the relaxed convolution there.
//
// With by_blocks the time is cut at multiples of kBlock instead, and there
// are two phases, each in one block: of the tokens before the first cut (unless
// they fill their block, or all of it that is the sequence's), and of those
// after the last one. In order:
//   edges   of the first phase: all that its tokens meet in their block;
//   blocks  what goes from block to block, whole blocks, and what the tokens of
//           the second phase bring to all of their block;
//   edges   of the second phase: takes back what a pending output has of it
//           that no tile has brought there yet.
struct ChunkPhase {
  const Chunk* chunks = nullptr;  // device
  int32_t count = 0;
  int32_t longest = 0;
  int32_t phase = 0;
};
cudaError_t LaunchBegin(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, cudaStream_t stream);
cudaError_t LaunchTiles(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, int32_t log_size,
                        cudaStream_t stream);
cudaError_t LaunchNear(const ExplicitConvolution& op, const ExplicitView& view,
                       const ChunkPhase& phase, cudaStream_t stream);
cudaError_t LaunchEdges(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, cudaStream_t stream);
// What a thread block of LaunchBlocks has of shared memory.
int64_t BlocksSharedBytes();
cudaError_t LaunchBlocks(const ExplicitConvolution& op,
                         const ExplicitView& view, const Chunk* chunks,
                         int32_t count, cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_CONVOLUTION_H_
