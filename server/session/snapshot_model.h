#ifndef CHELA_SERVER_SESSION_SNAPSHOT_MODEL_H_
#define CHELA_SERVER_SESSION_SNAPSHOT_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "models/model_config.h"

namespace chela {

// What a snapshot and the model that loads it must have in common. Immutable.
struct SnapshotModel {
  std::string fingerprint;  // Weights::fingerprint()
  // What stands where in the state, in words: kernel kind and shapes. It is the
  // same on every backend.
  std::string layout;
  int32_t vocab = 0;
  int64_t state_bytes = 0;  // StateLayout::slot_bytes()
};

SnapshotModel MakeSnapshotModel(const ModelConfig& config,
                                std::string fingerprint);

// No snapshot of this model has more bytes: a limit for whoever receives one.
size_t MaxSnapshotBytes(const SnapshotModel& model);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SNAPSHOT_MODEL_H_
