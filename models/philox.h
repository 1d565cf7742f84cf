#ifndef CHELA_MODELS_PHILOX_H_
#define CHELA_MODELS_PHILOX_H_

#include <array>
#include <cstdint>

namespace chela {

// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011): a bijection of a 128-bit counter under a 64-bit
// key whose outputs pass as independent random words. Words are in the paper's
// order, the least significant first. Pure; thread-safe.
std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter,
                               std::array<uint32_t, 2> key);

// Draw number `draw` of stream (seed, branch): uniform over the multiples of
// 2^-53 in [0, 1). The key is the seed; the counter is (draw, branch, 0), draw
// in its low 64 bits, so no two streams share a counter under the same key.
double UniformDraw(uint64_t seed, uint32_t branch, uint64_t draw);

}  // namespace chela

#endif  // CHELA_MODELS_PHILOX_H_
