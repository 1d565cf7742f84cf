#include <memory>

#include "absl/strings/str_cat.h"
#include "server/tools/bench/prefill_case_data.h"
#include "server/tools/bench/prefill_cases.h"

namespace chela::bench {

absl::StatusOr<KernelCase> AttentionPrefill(Backend& backend,
                                            const ModelConfig& config,
                                            const PrefillShape& shape) {
  const int64_t keys = config.shared_dim;
  const int64_t values = config.value_dim;
  const int64_t heads = config.num_heads;
  const int64_t state = keys * (values / heads);
  // Values, gates and results, keys; states read and written.
  const double bytes =
      4.0 * static_cast<double>(shape.rows() * (3 * values + keys) +
                                2 * shape.sequences * state);
  auto data = std::make_shared<PrefillData>(backend, shape, bytes);
  const int64_t rows = shape.rows();
  const int64_t copies = data->copies();
  LinearAttention op;
  op.heads = config.num_heads;
  op.key_dim = static_cast<int32_t>(keys / heads);
  op.value_dim = static_cast<int32_t>(values / heads);
  op.feature_map = config.feature_map;
  op.shared = {data->Floats(copies * rows * keys), keys};
  op.value = {data->Floats(copies * rows * values), values};
  op.reset = {data->Floats(copies * rows * values), values};
  op.q_scale = data->Floats(keys);
  op.q_bias = data->Floats(keys);
  op.k_scale = data->Floats(keys);
  op.k_bias = data->Floats(keys);
  op.norm_weight = data->Floats(values);
  op.state = {data->Floats(copies * shape.sequences * state), state};
  op.out = data->Floats(copies * rows * values);
  if (!data->status().ok()) return data->status();
  const float* const result = op.out;
  return data->Case("attention_prefill",
                    absl::StrCat(shape.sequences, " x ", shape.tokens, ", ",
                                 heads, " x ", op.key_dim, " x ", op.value_dim),
                    result, data,
                    [op, rows, keys, values, state, &backend,
                     sequences = shape.sequences](int64_t copy) {
                      LinearAttention mine = op;
                      mine.shared.data += copy * rows * keys;
                      mine.value.data += copy * rows * values;
                      mine.reset.data += copy * rows * values;
                      mine.state.data += copy * sequences * state;
                      mine.out += copy * rows * values;
                      return backend.Run(mine);
                    });
}

}  // namespace chela::bench
