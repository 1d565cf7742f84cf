// Values that blocks of one kernel hand to each other.
//
// Each float stands beside a tag in one 64-bit word, written and read as a
// whole: who reads the tag it waits for has the value, so nothing else is
// ordered and no block waits for more than what it reads (the idea of NCCL's
// LL protocol). Tags only grow; a value's place is used again two layers
// later, when every block has read it (whole_step.cu says why).
#ifndef CHELA_KERNELS_CUDA_STEP_EXCHANGE_CUH_
#define CHELA_KERNELS_CUDA_STEP_EXCHANGE_CUH_

#include <cstdint>

namespace chela::cuda {

// A read that is not answered after so many tries, some seconds, never will
// be: the kernel faults instead of hanging.
inline constexpr int kMaxTries = 1 << 23;

__device__ __forceinline__ void PostBits(uint64_t* to, uint32_t bits,
                                         uint32_t tag) {
  const uint64_t word = uint64_t{tag} << 32 | bits;
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(word)
               : "memory");
}

__device__ __forceinline__ void Post(uint64_t* to, float value, uint32_t tag) {
  PostBits(to, __float_as_uint(value), tag);
}

__device__ __forceinline__ uint64_t ReadWord(const uint64_t* from) {
  uint64_t word;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];"
               : "=l"(word)
               : "l"(from)
               : "memory");
  return word;
}
__device__ __forceinline__ ulonglong2 ReadTwoWords(const uint64_t* from) {
  ulonglong2 words;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(words.x), "=l"(words.y)
               : "l"(from)
               : "memory");
  return words;
}
__device__ __forceinline__ bool HasTag(uint64_t word, uint32_t tag) {
  return static_cast<uint32_t>(word >> 32) == tag;
}
__device__ __forceinline__ float ValueOf(uint64_t word) {
  return __uint_as_float(static_cast<uint32_t>(word));
}

__device__ __forceinline__ float Await(const uint64_t* from, uint32_t tag) {
#pragma unroll 1
  for (int tries = 0;; ++tries) {
    if (tries == kMaxTries) __trap();
    const uint64_t word = ReadWord(from);
    if (HasTag(word, tag)) return ValueOf(word);
  }
}
__device__ __forceinline__ void AwaitTwo(const uint64_t* first,
                                         const uint64_t* second, uint32_t tag,
                                         float* a, float* b) {
#pragma unroll 1
  for (int tries = 0;; ++tries) {
    if (tries == kMaxTries) __trap();
    const uint64_t words[] = {ReadWord(first), ReadWord(second)};
    *a = ValueOf(words[0]);
    *b = ValueOf(words[1]);
    if (HasTag(words[0], tag) && HasTag(words[1], tag)) return;
  }
}

// kCount groups of four neighbours, all asked for at once. Called by whole
// warps.
template <int kCount>
__device__ __forceinline__ void AwaitFours(
    const uint64_t* const (&from)[kCount], uint32_t tag,
    float4 (&out)[kCount]) {
#pragma unroll 1
  for (int tries = 0; tries < kMaxTries; ++tries) {
    ulonglong2 words[2 * kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      words[2 * i] = ReadTwoWords(from[i]);
      words[2 * i + 1] = ReadTwoWords(from[i] + 2);
    }
    uint32_t others = 0;  // bits of tags that are not this one
#pragma unroll
    for (int i = 0; i < 2 * kCount; ++i) {
      others |= static_cast<uint32_t>(words[i].x >> 32) ^ tag;
      others |= static_cast<uint32_t>(words[i].y >> 32) ^ tag;
    }
    if (__all_sync(0xffffffffu, others == 0)) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        out[i] = make_float4(ValueOf(words[2 * i].x), ValueOf(words[2 * i].y),
                             ValueOf(words[2 * i + 1].x),
                             ValueOf(words[2 * i + 1].y));
      }
      return;
    }
  }
  __trap();
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_EXCHANGE_CUH_
