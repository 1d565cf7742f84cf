#ifndef CHELA_KERNELS_CPU_KERNEL_TABLE_H_
#define CHELA_KERNELS_CPU_KERNEL_TABLE_H_

#include <cstdint>

#include "kernels/cpu/long_convolution_tasks.h"
#include "kernels/dtype.h"

namespace chela {

// Columns of one packed panel of a matrix (see packed_matrix.h).
inline constexpr int64_t kPanelColumns = 32;

// One row of a normalisation: out = Norm(x), as norm.h defines it.
struct NormRow {
  const float* x = nullptr;       // [width]
  const float* weight = nullptr;  // [width]
  const float* bias = nullptr;    // [width]; null for RMSNorm
  float eps = 0;
  int64_t width = 0;
  float* out = nullptr;  // [width]; may be x
};

// What happens to the finished sums of a product, s = x weight^T.
enum class Finish {
  kStore,     // out = s
  kBias,      // out = s + bias
  kResidual,  // out = residual + s
  kGated,     // h = SiLU(candidate + s), g = sigmoid(gate),
              // out = g h + (1 - g) residual
};

// A share of one product: outputs of panels [panel_begin, panel_end) for rows
// [row_begin, row_end). Strides of float matrices are in floats.
struct ProductTask {
  const void* panels = nullptr;   // the packed matrix
  const float* scales = nullptr;  // of its outputs, for DType::kI8
  int64_t rows = 0;               // outputs of the whole matrix
  int64_t cols = 0;               // inputs
  int64_t panel_begin = 0;
  int64_t panel_end = 0;

  const void* left = nullptr;  // rounded rows, see CpuKernelTable::round_row
  int64_t left_stride = 0;     // bytes
  int32_t row_begin = 0;
  int32_t row_end = 0;

  Finish finish = Finish::kStore;
  const float* bias = nullptr;
  const float* residual = nullptr;  // [rows, out_stride]
  const float* candidate = nullptr;
  int64_t candidate_stride = 0;
  const float* gate = nullptr;
  int64_t gate_stride = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};

// One row of an embedding: out[j] = table[token][j] * multiplier.
struct EmbedRow {
  const void* panels = nullptr;
  const float* scales = nullptr;  // as in ProductTask
  int64_t cols = 0;
  int64_t token = 0;
  float multiplier = 1;
  float* out = nullptr;  // [cols]
};

// One row of a short convolution: a = SiLU(bias + sum_m weight[taps-1-m] .
// u[m]), summed in the order of m; a null u[m] counts as 0.
struct ShortConvolutionRow {
  int64_t width = 0;
  int32_t taps = 0;
  const float* const* u = nullptr;  // [taps] rows, u[0] the current token's
  const float* weight = nullptr;    // [taps, width]
  const float* bias = nullptr;      // [width]
  float* a = nullptr;               // [width]
};

// phi(q), phi(k) and w of one row, from the raw sums.
struct AttentionInputRow {
  int64_t keys = 0;    // heads * key_dim
  int64_t values = 0;  // heads * value_dim
  const float* shared = nullptr;
  const float* value = nullptr;
  const float* q_scale = nullptr;
  const float* q_bias = nullptr;
  const float* k_scale = nullptr;
  const float* k_bias = nullptr;
  float* q = nullptr;  // [keys], out
  float* k = nullptr;  // [keys], out
  float* w = nullptr;  // [values], out
};

// `tokens` steps of linear attention on a range of value columns of one head:
//   S = decay S + k_t w_t^T,  o_t = S^T q_t.
// Pointers are to the first token and the first column of the range.
struct AttentionTile {
  int64_t tokens = 0;
  int64_t key_dim = 0;
  int64_t columns = 0;
  float decay = 1;
  bool fresh = false;  // start from S = 0; `state` is written only
  const float* q = nullptr;
  const float* k = nullptr;
  int64_t key_stride = 0;  // floats from one token's q (or k) to the next
  const float* w = nullptr;
  int64_t value_stride = 0;  // likewise of w and o
  float* state = nullptr;    // key row i at state + i * state_stride
  int64_t state_stride = 0;
  float* o = nullptr;
};

// One token of linear attention with replay on a range of value columns of one
// head, or the ring's addition to the state alone (attention_replay.h).
struct ReplayTile {
  int64_t entries = 0;  // of the ring
  int64_t key_dim = 0;
  int64_t columns = 0;
  const float* powers = nullptr;       // decay^0 .. decay^(entries + 1)
  const float* ring_keys = nullptr;    // [entries, key_dim]
  const float* ring_values = nullptr;  // entry s at ring_values + s * stride
  int64_t ring_stride = 0;
  const float* q = nullptr;  // null: no token, no output
  const float* k = nullptr;
  const float* w = nullptr;
  bool fresh = false;      // start from S = 0; `state` is written only
  bool write = false;      // S becomes what it is with the ring and the token
  float* state = nullptr;  // key row i at state + i * state_stride
  int64_t state_stride = 0;
  float* o = nullptr;
};

// One head of one row: out = SiLU(reset) . RMSNorm(o) . weight.
struct AttentionOutputRow {
  int64_t value_dim = 0;
  float eps = 0;
  const float* reset = nullptr;
  const float* weight = nullptr;
  const float* o = nullptr;
  float* out = nullptr;  // may be o
};

// One function per kernel, all compiled for one instruction set. A function
// computes a row's values with the same operations whatever its neighbours,
// and a value's bits do not depend on the lane or the tail it falls in.
//
// The functions allocate nothing, call nothing outside their set and are
// safe on any thread.
struct CpuKernelTable {
  const char* name = "";

  void (*normalize)(const NormRow& row) = nullptr;
  // out[j] = SiLU(gate[j]) * up[j]; out may be gate or up.
  void (*swiglu)(const float* gate, const float* up, int64_t size,
                 float* out) = nullptr;
  // out[j] = SiLU(x[j]); out may be x.
  void (*silu)(const float* x, int64_t size, float* out) = nullptr;

  // Arrays below are indexed by DType.
  // Rounds a row of a product's left operand to the matrix's type, in the form
  // that `product` reads, with zeros up to an even size. `out` has room for
  // LeftRowBytes(cols).
  void (*round_row[kNumDTypes])(const float* x, int64_t cols, void* out) = {};
  void (*product[kNumDTypes])(const ProductTask& task) = {};
  void (*embed[kNumDTypes])(const EmbedRow& row) = {};

  void (*short_convolution)(const ShortConvolutionRow& row) = nullptr;

  void (*attention_input[3])(const AttentionInputRow& row) = {};  // FeatureMap
  void (*attention_tile)(const AttentionTile& tile) = nullptr;
  void (*attention_replay)(const ReplayTile& tile) = nullptr;
  void (*attention_output)(const AttentionOutputRow& row) = nullptr;

  void (*hierarchical_tile)(const HierarchicalTile& tile) = nullptr;
  void (*explicit_group)(const ExplicitGroup& group) = nullptr;
  void (*fft_tile)(const FftTile& tile) = nullptr;
  void (*fft_block)(const FftBlock& block) = nullptr;
};

// Defined only where the build's processor family has the set.
const CpuKernelTable& GenericKernels();
const CpuKernelTable& Avx2Kernels();
const CpuKernelTable& Avx512Kernels();
const CpuKernelTable& Avx512Bf16Kernels();

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_KERNEL_TABLE_H_
