// Vectors of eight floats: AVX2, FMA, F16C. Included by kernels_avx2.cc only;
// simd_generic.h says what the names mean.
#ifndef CHELA_KERNELS_CPU_SIMD_AVX2_H_
#define CHELA_KERNELS_CPU_SIMD_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace chela::CHELA_KERNEL_SET {
namespace {

using F = __m256;
constexpr int64_t kLanes = 8;
constexpr int kProductRows = 6;  // 6 x 2 accumulators, 2 to 4 weights, 1 input
constexpr int kNarrowRows = 2;   // 2 x 4 accumulators

// The first n lanes set.
inline __m256i PartMask(int64_t n) {
  alignas(32) static constexpr int32_t kMask[16] = {
      -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - n));
}

inline F Set(float x) { return _mm256_set1_ps(x); }
inline F Load(const float* p) { return _mm256_loadu_ps(p); }
inline F LoadPart(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, PartMask(n));
}
inline F KeepPart(F x, int64_t n) {
  return _mm256_and_ps(x, _mm256_castsi256_ps(PartMask(n)));
}
inline void Store(float* p, F x) { _mm256_storeu_ps(p, x); }
inline void StorePart(float* p, F x, int64_t n) {
  _mm256_maskstore_ps(p, PartMask(n), x);
}
inline F Add(F a, F b) { return _mm256_add_ps(a, b); }
inline F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F Div(F a, F b) { return _mm256_div_ps(a, b); }
inline F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F Max(F a, F b) { return _mm256_max_ps(a, b); }
inline F Min(F a, F b) { return _mm256_min_ps(a, b); }
inline float SumLanes(F x) {
  __m128 sum =
      _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

inline F Pow2FromShifted(F x) {
  const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(x), 23);
  return _mm256_castsi256_ps(
      _mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

inline F RoundedBf16(F x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd =
      _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  const F rounded =
      _mm256_castsi256_ps(_mm256_and_si256(_mm256_add_epi32(bits, bias), high));
  return _mm256_blendv_ps(rounded, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
inline F RoundedF16(F x) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

struct Pairs {
  F even;
  F odd;
};
inline Pairs LoadPairs(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(bits, high))};
}
inline Pairs LoadI8Pairs(const signed char* p) {
  const __m256i bytes = _mm256_cvtepu16_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i even = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 24), 24);
  const __m256i odd = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 16), 24);
  return {_mm256_cvtepi32_ps(even), _mm256_cvtepi32_ps(odd)};
}
inline F LoadF16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
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

#endif  // CHELA_KERNELS_CPU_SIMD_AVX2_H_
