#include <memory>

#include "absl/strings/str_cat.h"
#include "server/tools/bench/prefill_case_data.h"
#include "server/tools/bench/prefill_cases.h"

namespace chela::bench {

absl::StatusOr<KernelCase> HierarchicalPrefill(Backend& backend,
                                               const ModelConfig& config,
                                               const PrefillShape& shape) {
  const int64_t d = config.hidden_size;
  const int64_t base = config.long_conv_base_length;
  const int64_t levels = config.levels();
  const int64_t state = config.long_conv_state_rows() * d;
  const int64_t rows = shape.rows();
  const double bytes =
      4.0 * static_cast<double>(2 * rows * d + shape.sequences * state);
  auto data = std::make_shared<PrefillData>(backend, shape, bytes);
  const int64_t copies = data->copies();
  HierarchicalConvolution op;
  op.width = config.hidden_size;
  op.base_length = config.long_conv_base_length;
  op.levels = config.levels();
  op.a = data->Floats(copies * rows * d);
  op.taps0 = data->Floats(base * d);
  op.taps = data->Floats(levels * base / 2 * d);
  op.skip = data->Floats(d);
  op.state = {data->Floats(copies * shape.sequences * state), state};
  op.c = data->Floats(copies * rows * d);
  if (!data->status().ok()) return data->status();
  const float* const result = op.c;
  return data->Case("hierarchical_prefill",
                    absl::StrCat(shape.sequences, " x ", shape.tokens, ", d ",
                                 d, ", B ", base, " S ", levels),
                    result, data,
                    [op, rows, d, state, &backend,
                     sequences = shape.sequences](int64_t copy) {
                      HierarchicalConvolution mine = op;
                      mine.a += copy * rows * d;
                      mine.c += copy * rows * d;
                      mine.state.data += copy * sequences * state;
                      return backend.Run(mine);
                    });
}

}  // namespace chela::bench
