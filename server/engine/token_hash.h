#ifndef CHELA_SERVER_ENGINE_TOKEN_HASH_H_
#define CHELA_SERVER_ENGINE_TOKEN_HASH_H_

#include <cstdint>
#include <span>

namespace chela {

// The hash of no tokens.
inline constexpr uint64_t kNoTokensHash = 0;

// The hash of a sequence of token ids, one token after the other, so that a
// text that goes on needs its old hash only:
//   h_0 = kNoTokensHash,  h_{i+1} = XXH64(token i as 4 bytes little endian,
//                                         seed h_i)
// `so_far` is the hash of the tokens before `tokens`:
//   HashTokens(b, HashTokens(a)) == HashTokens(a b).
// The same on every machine; part of the snapshot format. It finds mistakes,
// not forgeries: who may choose tokens freely can make two texts collide.
uint64_t HashTokens(std::span<const int32_t> tokens,
                    uint64_t so_far = kNoTokensHash);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_TOKEN_HASH_H_
