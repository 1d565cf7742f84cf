#ifndef CHELA_MODELS_TEXT_STREAM_H_
#define CHELA_MODELS_TEXT_STREAM_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/text_state.h"
#include "models/utf8.h"

namespace chela {

// The bytes of generated tokens, turned into text that may be sent: complete
// UTF-8 characters only (bytes that can be none become U+FFFD), and nothing
// that may turn out to be the start of a stop string.
//
// The stop that matches is the one whose last byte comes first; of several
// that end there, the longest. So what is sent and what matches depend on the
// bytes only, never on how they were cut into tokens. Text is held back for as
// long as it ends in a proper prefix of a stop, and not longer.
//
// Time: O(bytes * stops) over the whole stream, whatever the sizes of tokens
// and stops. Memory: the stops, twice, and at most the longest of them in
// held-back text. Owned by one thread.
class TextStream {
 public:
  // stops: non-empty strings of valid UTF-8, at most a few. (An empty one, and
  // one that is no valid UTF-8, never matches.) include_stop: the one that
  // matches is the end of the text instead of being dropped from it.
  // earlier: the end of the text that this one goes on from, sent before; its
  // unfinished character is finished here, and a stop may start in it.
  explicit TextStream(std::vector<std::string> stops, bool include_stop = false,
                      const TextState& earlier = {});

  struct Output {
    std::string text;                 // may be sent now, valid UTF-8
    std::optional<std::string> stop;  // the stop string that matched; what
                                      // follows it is dropped
  };
  // The bytes of the next token, any bytes. A stop that these bytes complete
  // matches only if `may_stop`; else it is text like any other. After a stop
  // matched, must not be called.
  Output Push(std::string_view bytes, bool may_stop = true);

  // The end without a stop: what was held back for one. A character cut off in
  // the middle is not text; its bytes are counted in truncated_bytes().
  std::string Finish();
  size_t truncated_bytes() const { return truncated_bytes_; }

  // The end of everything pushed so far: what a later stream goes on from.
  // Only before Finish.
  TextState State() const;
  // Bytes of text so far, an unfinished character left out.
  int64_t text_bytes() const { return text_bytes_; }
  // Where the next stop may have started, in these bytes: everything before is
  // decided. Negative if that was in the earlier text. After a stop matched,
  // where that one starts.
  int64_t undecided_from() const;
  bool has_cut() const { return !cut_.empty(); }

 private:
  struct Stop {
    std::string text;
    // borders[i]: the length of the longest proper prefix of text[0, i] that
    // is also its suffix (Knuth, Morris, Pratt).
    std::vector<size_t> borders;
    size_t matched = 0;  // bytes of `text` that the stream ends in
  };

  // Feeds one byte of text to every stop; the one that it completes, if any.
  const Stop* Advance(char byte);
  // Completed stops are text: goes on with what they end in.
  void PassOver();
  size_t HeldBytes() const;
  std::string TakeText(size_t size_bytes);
  void Remember(std::string_view fresh);

  std::vector<Stop> stops_;
  bool include_stop_ = false;
  std::string cut_;   // the start of a character, at most 3 bytes
  std::string text_;  // from sent_ on: held back
  size_t sent_ = 0;
  size_t truncated_bytes_ = 0;
  std::string tail_;  // at least the last kMaxTextTail bytes of text
  int64_t text_bytes_ = 0;
  std::optional<int64_t> stop_from_;
};

}  // namespace chela

#endif  // CHELA_MODELS_TEXT_STREAM_H_
