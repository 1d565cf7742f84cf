#ifndef CHELA_MODELS_TOKEN_HISTORY_H_
#define CHELA_MODELS_TOKEN_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "kernels/draw.h"
#include "models/sampler_state.h"

namespace chela {

// How often each token stands in a text so far, apart for its prompt and for
// what was generated: what the penalties look at. With a window only the last
// tokens of both together count.
//
// Add costs O(1). Memory: an entry a distinct token, an index of the size of
// the largest id, and the window. Copies are independent. Owned by one thread.
class TokenHistory {
 public:
  using Entry = TokenCount;

  // window: tokens to look back; 0: all.
  explicit TokenHistory(int32_t window = 0) : window_(window) {}

  // An earlier text, of which a window sees the recent tokens only. Before
  // anything else. `as_prompt`: what was generated counts as prompt from now.
  void AddEarlier(const SamplerState& earlier, bool as_prompt);
  void AddPrompt(std::span<const int32_t> tokens);  // ids >= 0
  void AddGenerated(int32_t token);

  // Each token that stands in the window, once, in no particular order.
  std::span<const Entry> entries() const { return entries_; }

 private:
  struct Position {
    int32_t token = 0;
    bool generated = false;
  };

  Entry& EntryOf(int32_t token);
  void Add(Position position);
  void Forget(Position position);

  int32_t window_;
  std::vector<Entry> entries_;
  std::vector<int32_t> entry_of_;  // by token; -1: none
  std::deque<Position> recent_;    // only with a window
};

}  // namespace chela

#endif  // CHELA_MODELS_TOKEN_HISTORY_H_
