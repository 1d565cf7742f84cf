#ifndef CHELA_KERNELS_CUDA_CONVOLUTION_H_
#define CHELA_KERNELS_CUDA_CONVOLUTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/rounded_out.h"
#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"
#include "kernels/short_convolution.h"

namespace chela::cuda {

// The convolutions of decode rows: the short one, the hierarchical one or both,
// then fused (hierarchical->a must be short_conv->a). max_rows: at least the
// rows that exist. `copies` are written beside u and c.
//
// Order of a row's sums, the same in decode and in chunks:
//   short: bias, then taps by lag 1, 2 .., then lag 0;
//   level 0: lags >= 1 by lag mod 8, each ascending, then those 8 in order;
//   level j: its taps by m, then the levels from S down to 1;
//   c = that of level 0, + that of the levels, + lag 0, + skip.
struct ConvolutionCopies {
  RoundedOut u;  // of short_conv->u
  RoundedOut c;  // of hierarchical->c
};
cudaError_t LaunchDecode(const ShortConvolution* short_conv,
                         const HierarchicalConvolution* hierarchical,
                         const ConvolutionCopies& copies,
                         const DecodeRows& rows, int32_t max_rows, bool overlap,
                         cudaStream_t stream);

// The same for chunks: `chunks` (device) are `count` of them, the longest of
// `longest` tokens. overlap: the device has programmatic dependent launch.
cudaError_t LaunchChunks(const ShortConvolution& op, const Chunk* chunks,
                         int32_t count, int32_t longest, bool overlap,
                         cudaStream_t stream);
// `history`: working memory of HistoryFloats, for a step of `rows` rows.
int64_t HistoryFloats(const HierarchicalConvolution& op, int64_t rows,
                      int32_t chunks);
cudaError_t LaunchChunks(const HierarchicalConvolution& op,
                         const ChunkList& chunks, float* history,
                         int processors, bool overlap, cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CONVOLUTION_H_
