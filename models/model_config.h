#ifndef CHELA_MODELS_MODEL_CONFIG_H_
#define CHELA_MODELS_MODEL_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "kernels/feed_forward.h"
#include "kernels/linear_attention.h"
#include "kernels/norm.h"

namespace chela {

enum class LongConvKind { kExplicit, kHierarchical };

// Where the parts of one sequence's state lie, in floats. A slot is
// [layers][layer_floats]; a layer holds its parts one after the other.
struct StateLayout {
  int64_t short_conv = 0;  // [taps-1, hidden]; offsets within a layer
  int64_t attention = 0;   // [heads, key_dim, value_dim]
  int64_t replay = 0;      // as kernels/attention_replay.h says, if used
  int64_t long_conv = 0;   // as kernels/long_convolution.h says
  int64_t layer_floats = 0;
  int64_t slot_floats = 0;
  int64_t slot_bytes() const { return slot_floats * 4; }
  bool operator==(const StateLayout&) const = default;
};

// The hyper-parameters of one checkpoint: config.json, checked; and what was
// chosen of its state. Every size elsewhere is computed from it, nowhere else.
// Immutable once loaded.
struct ModelConfig {
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t num_hidden_layers = 0;
  int32_t num_heads = 0;
  int32_t shared_dim = 0;
  int32_t value_dim = 0;
  int32_t intermediate_size = 0;
  FeedForwardKind ffn = FeedForwardKind::kSwiglu;
  NormKind norm = NormKind::kRms;
  float norm_eps = 0;
  FeatureMap feature_map = FeatureMap::kElu1;
  int32_t short_conv_kernel_size = 0;  // K
  LongConvKind long_conv_kind = LongConvKind::kHierarchical;
  int64_t long_conv_length = 0;       // N
  int32_t long_conv_base_length = 0;  // B; 0 for explicit
  float embedding_multiplier = 1.0f;
  bool tie_word_embeddings = false;
  int32_t bos_token_id = 0;
  int32_t eos_token_id = 0;
  bool add_bos_token = false;
  DType torch_dtype = DType::kF32;   // of the matrices in memory
  int64_t max_position_trained = 0;  // 0: not stated
  bool bytes_tokenizer = false;      // "tokenizer": "bytes"

  // R of attention replay (kernels/attention_replay.h), 0: off. No key of
  // config.json: whoever loads the checkpoint chooses it.
  int32_t attention_replay = 0;

  // From the text of config.json. INVALID_ARGUMENT names the key, what it was
  // and what is wanted. Keys nobody knows are listed in `unknown_keys`.
  static absl::StatusOr<ModelConfig> Parse(const std::string& json);
  // The same from `directory`/config.json. NOT_FOUND if there is none.
  static absl::StatusOr<ModelConfig> Load(const std::string& directory);

  // The config as a JSON object with the keys of config.json.
  std::string ToJson() const;

  // INVALID_ARGUMENT unless 0 or kMinReplay .. kMaxReplay.
  absl::Status SetAttentionReplay(int32_t period);

  int32_t key_dim() const { return shared_dim / num_heads; }  // per head
  int32_t head_value_dim() const { return value_dim / num_heads; }
  int32_t levels() const;                // S; 0 for explicit
  int64_t long_conv_state_rows() const;  // rows of hidden_size floats
  // Outputs of the stacked projections of c: [shared | reset | update gate |
  // candidate].
  int64_t projection_rows() const {
    return int64_t{shared_dim} + value_dim + 2 * int64_t{hidden_size};
  }
  StateLayout state_layout() const;
  // Elements of all tensors, `decay` included whether a checkpoint has it or
  // not.
  int64_t parameters() const;

  std::vector<std::string> unknown_keys;
};

// A prompt's chunks end at absolute multiples of this many tokens, or at the
// prompt's end, whatever else runs.
inline constexpr int64_t kChunkTokens = 256;

}  // namespace chela

#endif  // CHELA_MODELS_MODEL_CONFIG_H_
