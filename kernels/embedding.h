#ifndef CHELA_KERNELS_EMBEDDING_H_
#define CHELA_KERNELS_EMBEDDING_H_

#include <cstdint>

#include "kernels/matrix.h"

namespace chela {

// out[row] = table[tokens[row]] * multiplier, for every row of the step.
// Requires tokens in [0, table->rows()): checked by the backend, since ids
// come from requests. Errors: INVALID_ARGUMENT, before any write.
struct Embedding {
  const Matrix* table = nullptr;    // [vocab, width]; may also be the head
  const int32_t* tokens = nullptr;  // host, [rows]
  float multiplier = 1.0f;
  float* out = nullptr;  // [rows, width]
};

}  // namespace chela

#endif  // CHELA_KERNELS_EMBEDDING_H_
