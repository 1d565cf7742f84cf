#include "server/tools/bench/prefill_cases.h"

namespace chela::bench {

std::vector<Segment> PrefillShape::Segments() const {
  std::vector<Segment> segments(sequences);
  for (int32_t i = 0; i < sequences; ++i) {
    segments[i] = {.slot = i, .first_row = i * tokens, .rows = tokens};
  }
  return segments;
}

}  // namespace chela::bench
