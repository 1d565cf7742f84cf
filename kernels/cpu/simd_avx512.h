// Vectors of sixteen floats: AVX-512 F, BW, DQ, VL. Included by
// kernels_avx512.cc and kernels_avx512_bf16.cc only; simd_generic.h says what
// the names mean.
#ifndef CHELA_KERNELS_CPU_SIMD_AVX512_H_
#define CHELA_KERNELS_CPU_SIMD_AVX512_H_

#include <immintrin.h>

#include <cstdint>

namespace chela::CHELA_KERNEL_SET {
namespace {

using F = __m512;
constexpr int64_t kLanes = 16;
constexpr int kProductRows = 12;  // 12 x 2 accumulators, 2 to 4 weights
constexpr int kNarrowRows = 12;

inline __mmask16 PartMask(int64_t n) {
  return static_cast<__mmask16>((1u << n) - 1u);
}

inline F Set(float x) { return _mm512_set1_ps(x); }
inline F Load(const float* p) { return _mm512_loadu_ps(p); }
inline F LoadPart(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(PartMask(n), p);
}
inline F KeepPart(F x, int64_t n) {
  return _mm512_maskz_mov_ps(PartMask(n), x);
}
inline void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
inline void StorePart(float* p, F x, int64_t n) {
  _mm512_mask_storeu_ps(p, PartMask(n), x);
}
inline F Add(F a, F b) { return _mm512_add_ps(a, b); }
inline F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F Div(F a, F b) { return _mm512_div_ps(a, b); }
inline F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
// The masked forms: GCC's plain ones start from a deliberately uninitialised
// register, which -Wmaybe-uninitialized reports.
inline F Max(F a, F b) { return _mm512_maskz_max_ps(0xffff, a, b); }
inline F Min(F a, F b) { return _mm512_maskz_min_ps(0xffff, a, b); }
inline float SumLanes(F x) {
  const __m256 high = _mm512_maskz_extractf32x8_ps(0xff, x, 1);
  const __m256 low = _mm512_maskz_extractf32x8_ps(0xff, x, 0);
  const __m256 half = _mm256_add_ps(low, high);
  __m128 sum =
      _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

inline F Pow2FromShifted(F x) {
  const __m512i bits =
      _mm512_maskz_slli_epi32(0xffff, _mm512_castps_si512(x), 23);
  return _mm512_castsi512_ps(
      _mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}

inline F RoundedBf16(F x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(
      _mm512_maskz_srli_epi32(0xffff, bits, 16), _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i rounded = _mm512_and_si512(_mm512_add_epi32(bits, bias), high);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_mask_mov_ps(_mm512_castsi512_ps(rounded), nan, x);
}
inline F RoundedF16(F x) {
  return _mm512_maskz_cvtph_ps(
      0xffff, _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT));
}

struct Pairs {
  F even;
  F odd;
};
inline Pairs LoadPairs(const uint16_t* p) {
  const __m512i bits = _mm512_loadu_si512(p);
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, bits, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(bits, high))};
}
inline Pairs LoadI8Pairs(const signed char* p) {
  const __m512i bytes = _mm512_maskz_cvtepu16_epi32(
      0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i even = _mm512_maskz_srai_epi32(
      0xffff, _mm512_maskz_slli_epi32(0xffff, bytes, 24), 24);
  const __m512i odd = _mm512_maskz_srai_epi32(
      0xffff, _mm512_maskz_slli_epi32(0xffff, bytes, 16), 24);
  return {_mm512_maskz_cvtepi32_ps(0xffff, even),
          _mm512_maskz_cvtepi32_ps(0xffff, odd)};
}
#ifdef __AVX512BF16__
// 32 integers in their order; a bf16 holds each exactly.
inline __m512bh LoadI8AsBf16(const signed char* p) {
  const auto floats = [](const signed char* from) {
    return _mm512_maskz_cvtepi32_ps(
        0xffff,
        _mm512_maskz_cvtepi8_epi32(
            0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  };
  return _mm512_maskz_cvtne2ps_pbh(0xffffffff, floats(p + 16), floats(p));
}
#endif
inline F LoadF16(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(
      0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline float FromBf16(uint32_t half) {
  return __builtin_bit_cast(float, half << 16);
}
inline float FromF16(uint32_t half) {
  return _cvtsh_ss(static_cast<uint16_t>(half));
}
inline void Prefetch(const void* p) { __builtin_prefetch(p); }

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_SIMD_AVX512_H_
