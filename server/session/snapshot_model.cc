#include "server/session/snapshot_model.h"

#include <zstd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/snapshot_header.h"

namespace chela {
namespace {

// Stored snapshots carry these words: whoever changes what stands where in a
// slot changes them. Every backend has the same order.
std::string Layout(const ModelConfig& config) {
  const bool is_explicit = config.long_conv_kind == LongConvKind::kExplicit;
  std::string layout = absl::StrCat(
      is_explicit ? "explicit" : "hierarchical",
      " f32 layers=", config.num_hidden_layers,
      " short=", config.short_conv_kernel_size - 1, "x", config.hidden_size,
      " attention=", config.num_heads, "x", config.key_dim(), "x",
      config.head_value_dim(), " long=", config.long_conv_state_rows(), "x",
      config.hidden_size);
  if (!is_explicit) {
    absl::StrAppend(&layout, " base=", config.long_conv_base_length,
                    " levels=", config.levels());
  }
  // Only with replay, so that states from before it are still read.
  if (config.attention_replay > 0) {
    absl::StrAppend(&layout, " replay=", config.attention_replay);
  }
  return layout;
}

}  // namespace

SnapshotModel MakeSnapshotModel(const ModelConfig& config,
                                std::string fingerprint) {
  return {.fingerprint = std::move(fingerprint),
          .layout = Layout(config),
          .vocab = config.vocab_size,
          .state_bytes = config.state_layout().slot_bytes()};
}

size_t MaxSnapshotBytes(const SnapshotModel& model) {
  return kSnapshotPrologueBytes + kMaxSnapshotHeaderBytes +
         ZSTD_COMPRESSBOUND(MaxTextPartBytes(model.vocab)) +
         ZSTD_COMPRESSBOUND(static_cast<size_t>(model.vocab) * sizeof(float)) +
         ZSTD_COMPRESSBOUND(static_cast<size_t>(model.state_bytes));
}

}  // namespace chela
