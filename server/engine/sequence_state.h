#ifndef CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_
#define CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "models/sampler_state.h"
#include "models/text_state.h"

namespace chela {

// One text between two turns, whole: from it the same model goes on with
// exactly the tokens and bits that an uninterrupted run would have had, on the
// same backend. Its size depends on the model alone, not on the text's length.
//
// A turn's last token is usually `pending`: returned, but not fed. It is the
// next token to feed, alone, as a decode step. Without one, every token was
// fed and the next token is drawn from `logits`. Both forms of one text
// continue with the same bits.
//
// Immutable once shared, so a fork is a copy of a pointer. Thread-safe.
struct SequenceState {
  int64_t position = 0;            // tokens fed
  std::optional<int32_t> pending;  // the token at `position`
  // HashTokens of all tokens (token_hash.h), the pending one included.
  uint64_t token_hash = 0;
  std::vector<float> logits;     // [vocab] after the token at position - 1
  std::vector<std::byte> state;  // a slot of the StatePool; slot_bytes()
  SamplerState sampler;
  TextState text;

  int64_t tokens() const { return position + (pending.has_value() ? 1 : 0); }
};
using SequenceStatePtr = std::shared_ptr<const SequenceState>;

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_
