#ifndef CHELA_MODELS_WARM_UP_H_
#define CHELA_MODELS_WARM_UP_H_

#include <cstdint>

#include "absl/status/status.h"
#include "models/chela_model.h"
#include "models/state_pool.h"

namespace chela {

// Steps of the shapes that serving will have, run once before anybody waits for
// them: a backend then has loaded, compiled, allocated and recorded what they
// need, and what is free afterwards stays free. Nobody else may hold a slot;
// the slots that were used are cleared and given back in the order in which
// they were claimed, so that the pool is as it was made. Errors are Forward's.

// One token: the least that shows whether a device works.
absl::Status WarmUpToken(ChelaModel& model, StatePool& pool);

// The largest step of chunks (model.max_rows() rows, as few as one slot), with
// the logits of every row, which bounds the working memory of prompts.
absl::Status WarmUpChunks(ChelaModel& model, StatePool& pool);

// Decode steps of every power of two up to the most rows that a step can have,
// and that number itself, the largest first, each twice, since backends record
// the second; with and without draws where the backend draws. And the largest
// step of decode rows beside a chunk.
absl::Status WarmUpDecode(ChelaModel& model, StatePool& pool);

}  // namespace chela

#endif  // CHELA_MODELS_WARM_UP_H_
