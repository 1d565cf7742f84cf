#include "server/engine/token_hash.h"

#include <xxhash.h>

#include <array>

namespace chela {

uint64_t HashTokens(std::span<const int32_t> tokens, uint64_t so_far) {
  uint64_t hash = so_far;
  for (const int32_t token : tokens) {
    const auto bits = static_cast<uint32_t>(token);
    const std::array<uint8_t, 4> bytes = {
        static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8),
        static_cast<uint8_t>(bits >> 16), static_cast<uint8_t>(bits >> 24)};
    hash = XXH64(bytes.data(), bytes.size(), hash);
  }
  return hash;
}

}  // namespace chela
