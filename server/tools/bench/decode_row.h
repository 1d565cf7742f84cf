#ifndef CHELA_SERVER_TOOLS_BENCH_DECODE_ROW_H_
#define CHELA_SERVER_TOOLS_BENCH_DECODE_ROW_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/engine_bench.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

struct RowSize {
  int32_t batch;
  int64_t position;
};

// Decode steps of a batch at a position, in turn with the ceiling and, unless
// `base` is null, with that row's steps (the workload has its base set for
// them). The row: PairedResult's fields, the bytes of step_bytes.h and, with a
// base, by pair: {"tokens_per_second_ratio" and its _min, _max, _iqr,
// "step_ratio", "bytes_ratio", "step_ratio_over_bytes_ratio",
// "peer_conclusive"}, each the row's over the base's.
absl::StatusOr<nlohmann::json> MeasureDecode(const EngineBenchOptions& options,
                                             const RowSize& size,
                                             const RowSize* base,
                                             DecodeWorkload& workload,
                                             Ceiling& ceiling);

// For people: the table's head, a row, and what DecodeWorkload::stages gives.
void PrintDecodeHead(const Output& output);
void PrintDecode(const nlohmann::json& row, const Output& output);
void PrintStages(const nlohmann::json& stages, const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_DECODE_ROW_H_
