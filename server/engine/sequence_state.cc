#include "server/engine/sequence_state.h"

namespace chela {

uint64_t HashTokens(std::span<const int32_t> tokens, uint64_t before) {
  uint64_t hash = before;
  for (const int32_t token : tokens) {
    hash += 0x9E3779B97F4A7C15u + static_cast<uint32_t>(token);
    hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9u;
    hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBu;
    hash ^= hash >> 31;
  }
  return hash;
}

}  // namespace chela
