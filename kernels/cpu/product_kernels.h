// Matrix products and what reads packed panels. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_PRODUCT_KERNELS_H_
#define CHELA_KERNELS_CPU_PRODUCT_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// A format says how one step along k of a panel is read and added to the
// sums: kDepth values of k, kStepBytes of panel, Left elements of the rounded
// left operand. Every output has one chain of sums along k, whatever the tile
// it is computed in.
struct F32Format {
  using Left = float;
  using Right = F;
  static constexpr int64_t kDepth = 1;
  static constexpr int64_t kStepBytes = kPanelColumns * 4;
  static constexpr int64_t kLeftPerStep = 1;

  static Right LoadRight(const unsigned char* step, int vector) {
    return Load(reinterpret_cast<const float*>(step) + vector * kLanes);
  }
  static F Step(const Left* left, Right right, F sum) {
    return Fma(Set(*left), right, sum);
  }
  static F Rounded(F x) { return x; }
  static float Element(const unsigned char* panel, int64_t column, int64_t k) {
    return reinterpret_cast<const float*>(panel)[k * kPanelColumns + column];
  }
};

struct F16Format : F32Format {
  static constexpr int64_t kStepBytes = kPanelColumns * 2;

  static Right LoadRight(const unsigned char* step, int vector) {
    return LoadF16(reinterpret_cast<const uint16_t*>(step) + vector * kLanes);
  }
  static F Rounded(F x) { return RoundedF16(x); }
  static float Element(const unsigned char* panel, int64_t column, int64_t k) {
    return FromF16(
        reinterpret_cast<const uint16_t*>(panel)[k * kPanelColumns + column]);
  }
};

struct Bf16Format {
  static constexpr int64_t kDepth = 2;
  static constexpr int64_t kStepBytes = kPanelColumns * 4;
  static F Rounded(F x) { return RoundedBf16(x); }
  static float Element(const unsigned char* panel, int64_t column, int64_t k) {
    const int64_t pair = k / 2 * kPanelColumns + column;
    return FromBf16(reinterpret_cast<const uint16_t*>(panel)[2 * pair + k % 2]);
  }
#ifdef __AVX512BF16__
  using Left = uint32_t;  // two bf16, the even k in the low half
  using Right = __m512bh;
  static constexpr int64_t kLeftPerStep = 1;
  static Right LoadRight(const unsigned char* step, int vector) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(step + vector * 64));
  }
  static F Step(const Left* left, Right right, F sum) {
    const __m512i pair = _mm512_set1_epi32(static_cast<int>(*left));
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(pair), right);
  }
#else
  using Left = float;
  using Right = Pairs;
  static constexpr int64_t kLeftPerStep = 2;
  static Right LoadRight(const unsigned char* step, int vector) {
    return LoadPairs(reinterpret_cast<const uint16_t*>(step) +
                     vector * kLanes * 2);
  }
  static F Step(const Left* left, Right right, F sum) {
    sum = Fma(Set(left[0]), right.even, sum);
    return Fma(Set(left[1]), right.odd, sum);
  }
#endif
};

// Integers of up to 7 bits are bf16 numbers, so the sums are those of a bf16
// matrix; the scale of an output comes at their end.
struct I8Format : Bf16Format {
  static constexpr int64_t kStepBytes = kPanelColumns * 2;

  static Right LoadRight(const unsigned char* step, int vector) {
    const auto* bytes =
        reinterpret_cast<const signed char*>(step + vector * kLanes * 2);
#ifdef __AVX512BF16__
    return LoadI8AsBf16(bytes);
#else
    return LoadI8Pairs(bytes);
#endif
  }
  static float Element(const unsigned char* panel, int64_t column, int64_t k) {
    const int64_t pair = k / 2 * kPanelColumns + column;
    return reinterpret_cast<const signed char*>(panel)[2 * pair + k % 2];
  }
};

template <typename Format>
void RoundRow(const float* x, int64_t cols, void* out) {
  float* rounded = static_cast<float*>(out);
  for (int64_t j = 0; j < cols; j += kLanes) {
    const int64_t left = cols - j;
    StoreAt(rounded + j, Format::Rounded(LoadAt(x + j, left)), left);
  }
  if (cols % 2 != 0) rounded[cols] = 0.0f;
}

#ifdef __AVX512BF16__
// Halves are stored, since the dot-product instruction reads pairs of them.
template <>
void RoundRow<Bf16Format>(const float* x, int64_t cols, void* out) {
  uint16_t* rounded = static_cast<uint16_t*>(out);
  for (int64_t j = 0; j < cols; j += kLanes) {
    const int64_t left = cols - j;
    const __m512i bits = _mm512_castps_si512(RoundedBf16(LoadAt(x + j, left)));
    const __mmask16 mask = left >= kLanes ? 0xffff : PartMask(left);
    _mm512_mask_cvtepi32_storeu_epi16(
        rounded + j, mask, _mm512_maskz_srli_epi32(0xffff, bits, 16));
  }
  if (cols % 2 != 0) rounded[cols] = 0;
}
#endif

// The sums of Rows rows by Vectors vectors of columns, into sums[row][32].
template <typename Format, int Rows, int Vectors>
inline void Sums(const unsigned char* panel, const unsigned char* left,
                 int64_t left_stride, int64_t steps,
                 float (*sums)[kPanelColumns]) {
  using Left = typename Format::Left;
  // Past this distance the next panel is read, which is the next task's.
  constexpr int64_t kAhead = 4096;
  F sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) sum[r][v] = Set(0.0f);
  }
  const int64_t stride = left_stride / static_cast<int64_t>(sizeof(Left));
  const Left* x[(Rows + 2) / 3];
  for (int r = 0; r < Rows; r += 3) {
    x[r / 3] = reinterpret_cast<const Left*>(left) + r * stride;
  }
  for (int64_t step = 0; step < steps; ++step) {
    typename Format::Right right[Vectors];
#pragma GCC unroll 32
    for (int v = 0; v < Vectors; ++v) right[v] = Format::LoadRight(panel, v);
    for (int64_t b = 0; b < Format::kStepBytes; b += 64) {
      Prefetch(panel + kAhead + b);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 32
      for (int v = 0; v < Vectors; ++v) {
        sum[r][v] =
            Format::Step(x[r / 3] + (r % 3) * stride, right[v], sum[r][v]);
      }
    }
    for (int r = 0; r < Rows; r += 3) x[r / 3] += Format::kLeftPerStep;
    panel += Format::kStepBytes;
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) Store(sums[r] + v * kLanes, sum[r][v]);
  }
}

// One row of finished sums of one panel.
inline void FinishRow(const ProductTask& task, int64_t row, int64_t column,
                      const float* sums) {
  const int64_t columns =
      task.rows - column < kPanelColumns ? task.rows - column : kPanelColumns;
  const int64_t at = row * task.out_stride + column;
  for (int64_t j = 0; j < columns; j += kLanes) {
    const int64_t left = columns - j;
    F s = Load(sums + j);
    if (task.scales != nullptr) {
      s = Mul(s, LoadAt(task.scales + column + j, left));
    }
    switch (task.finish) {
      case Finish::kStore:
        break;
      case Finish::kBias:
        s = Add(s, LoadAt(task.bias + column + j, left));
        break;
      case Finish::kResidual:
        s = Add(LoadAt(task.residual + at + j, left), s);
        break;
      case Finish::kGated: {
        const float* candidate =
            task.candidate + row * task.candidate_stride + column;
        const float* gate = task.gate + row * task.gate_stride + column;
        const F h = Silu(Add(LoadAt(candidate + j, left), s));
        const F g = Sigmoid(LoadAt(gate + j, left));
        const F kept =
            Mul(Sub(Set(1.0f), g), LoadAt(task.residual + at + j, left));
        s = Fma(g, h, kept);
        break;
      }
    }
    StoreAt(task.out + at + j, s, left);
  }
}

constexpr int kPanelVectors = static_cast<int>(kPanelColumns / kLanes);
constexpr int kSplit = kNarrowRows < kProductRows ? 2 : 1;

// Rows [row, row + Rows) of one panel. Many rows leave registers for part of
// the panel's columns only, which are then done one part after the other.
template <typename Format, int Rows>
void Tile(const ProductTask& task, int64_t panel, int64_t row) {
  constexpr int kParts = Rows > kNarrowRows ? kSplit : 1;
  constexpr int kVectors = kPanelVectors / kParts;
  const int64_t steps = (task.cols + Format::kDepth - 1) / Format::kDepth;
  const unsigned char* weights =
      static_cast<const unsigned char*>(task.panels) +
      panel * steps * Format::kStepBytes;
  const unsigned char* left =
      static_cast<const unsigned char*>(task.left) + row * task.left_stride;
  alignas(64) float sums[Rows][kPanelColumns];
  for (int part = 0; part < kParts; ++part) {
    const int64_t first = part * kVectors * kLanes;
    Sums<Format, Rows, kVectors>(
        weights + first * (Format::kStepBytes / kPanelColumns), left,
        task.left_stride, steps,
        reinterpret_cast<float(*)[kPanelColumns]>(&sums[0][first]));
  }
  for (int r = 0; r < Rows; ++r) {
    FinishRow(task, row + r, panel * kPanelColumns, sums[r]);
  }
}

template <typename Format, int Rows>
void TileOf(const ProductTask& task, int64_t panel, int64_t row, int64_t rows) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return TileOf<Format, Rows - 1>(task, panel, row, rows);
  }
  Tile<Format, Rows>(task, panel, row);
}

template <typename Format>
void Product(const ProductTask& task) {
  const int64_t rows = task.row_end - task.row_begin;
  const int64_t tiles = (rows + kProductRows - 1) / kProductRows;
  for (int64_t panel = task.panel_begin; panel < task.panel_end; ++panel) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      // Tiles of nearly equal height: a last tile of one row would wait for
      // its own sums.
      const int64_t begin = rows * tile / tiles;
      const int64_t end = rows * (tile + 1) / tiles;
      TileOf<Format, kProductRows>(task, panel, task.row_begin + begin,
                                   end - begin);
    }
  }
}

template <typename Format>
void Embed(const EmbedRow& row) {
  const int64_t steps = (row.cols + Format::kDepth - 1) / Format::kDepth;
  const unsigned char* panel =
      static_cast<const unsigned char*>(row.panels) +
      row.token / kPanelColumns * steps * Format::kStepBytes;
  const float scale = row.scales == nullptr ? 1.0f : row.scales[row.token];
  for (int64_t k = 0; k < row.cols; ++k) {
    row.out[k] = Format::Element(panel, row.token % kPanelColumns, k) * scale *
                 row.multiplier;
  }
}

constexpr void FillProductKernels(CpuKernelTable* table) {
  table->round_row[0] = RoundRow<F32Format>;
  table->round_row[1] = RoundRow<Bf16Format>;
  table->round_row[2] = RoundRow<F16Format>;
  table->round_row[3] = RoundRow<Bf16Format>;
  table->product[0] = Product<F32Format>;
  table->product[1] = Product<Bf16Format>;
  table->product[2] = Product<F16Format>;
  table->product[3] = Product<I8Format>;
  table->embed[0] = Embed<F32Format>;
  table->embed[1] = Embed<Bf16Format>;
  table->embed[2] = Embed<F16Format>;
  table->embed[3] = Embed<I8Format>;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_PRODUCT_KERNELS_H_
