#ifndef CHELA_SERVER_ENGINE_CHECK_JOB_H_
#define CHELA_SERVER_ENGINE_CHECK_JOB_H_

#include <cstdint>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"

namespace chela {

// Whether the engine can run a job: INVALID_ARGUMENT names the field, what it
// was and what is wanted. Token ids are checked against `vocab_size`, except
// those that a ScoreStream still has to receive. A generation holds a state for
// each of its best_of branches, of the `slots` of `slot_bytes` that there are.
absl::Status CheckJob(const GenerateJob& job, const EngineLimits& limits,
                      int32_t vocab_size, int32_t slots, int64_t slot_bytes);
absl::Status CheckJob(const ScoreJob& job, const EngineLimits& limits,
                      int32_t vocab_size);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_CHECK_JOB_H_
