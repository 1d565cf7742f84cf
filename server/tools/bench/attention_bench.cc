#include "server/tools/bench/attention_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/named_sizes.h"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/kernel_bench.h"
#include "server/tools/bench/kernel_case_data.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {
namespace {

using nlohmann::json;

constexpr double kGpuRotationBytes = 512 << 20;
// Tokens of a step without replay.
constexpr int64_t kPlainTokens = 8;

// Inputs, weights and the rotated states of one layer's attention.
class AttentionSteps {
 public:
  AttentionSteps(Backend& backend, const ModelConfig& config, int32_t rows,
                 int64_t position)
      : data_(backend, rows, position),
        layout_(config.state_layout()),
        position_(position),
        segments_(static_cast<size_t>(rows)) {
    const int64_t z = config.shared_dim;
    const int64_t v = config.value_dim;
    // State and ring stand side by side, as in a slot.
    slot_floats_ = layout_.long_conv - layout_.attention;
    copy_floats_ = rows * slot_floats_;
    const double bytes = 4.0 * static_cast<double>(copy_floats_);
    const double wanted = backend.Info().name == "cpu"
                              ? 8.0 * static_cast<double>(LastLevelCacheBytes())
                              : kGpuRotationBytes;
    copies_ =
        std::max<int64_t>(2, static_cast<int64_t>(std::ceil(wanted / bytes)));
    op_.heads = config.num_heads;
    op_.key_dim = config.key_dim();
    op_.value_dim = config.head_value_dim();
    op_.feature_map = config.feature_map;
    op_.shared = {data_.Floats(rows * z), z};
    op_.value = {data_.Floats(rows * v), v};
    op_.reset = {data_.Floats(rows * v), v};
    op_.q_scale = data_.Floats(z);
    op_.q_bias = data_.Floats(z);
    op_.k_scale = data_.Floats(z);
    op_.k_bias = data_.Floats(z);
    op_.norm_weight = data_.Floats(v);
    op_.decay = data_.Decays(config.num_heads);
    op_.out = data_.Floats(rows * v);
    op_.replay.period = config.attention_replay;
  }

  absl::Status MakeStates() {
    CHELA_RETURN_IF_ERROR(data_.status());
    Backend& backend = data_.backend();
    const size_t bytes = static_cast<size_t>(copy_floats_) * sizeof(float);
    absl::StatusOr<std::unique_ptr<Buffer>> buffer =
        backend.Allocate(bytes * static_cast<size_t>(copies_));
    if (!buffer.ok()) return buffer.status();
    states_ = *std::move(buffer);
    const float* const first = data_.Floats(copy_floats_);
    CHELA_RETURN_IF_ERROR(data_.status());
    for (int64_t copy = 0; copy < copies_; ++copy) {
      CHELA_RETURN_IF_ERROR(backend.Copy(first, StatesOf(copy), bytes));
    }
    return absl::OkStatus();
  }

  // `tokens` calls on each copy, and their end.
  absl::Status Step(int64_t tokens) {
    Backend& backend = data_.backend();
    const auto rows = static_cast<int32_t>(segments_.size());
    for (int64_t token = 0; token < tokens; ++token, ++position_) {
      for (int32_t row = 0; row < rows; ++row) {
        segments_[static_cast<size_t>(row)] = {.slot = row,
                                               .first_row = row,
                                               .rows = 1,
                                               .position = position_ + row};
      }
      CHELA_RETURN_IF_ERROR(backend.BeginStep({segments_, rows}));
      for (int64_t copy = 0; copy < copies_; ++copy) {
        LinearAttention op = op_;
        op.state = {StatesOf(copy), slot_floats_};
        op.replay.ring = {StatesOf(copy) + layout_.replay - layout_.attention,
                          slot_floats_};
        CHELA_RETURN_IF_ERROR(backend.Run(op));
      }
    }
    float last = 0;
    return backend.Download(op_.out, &last, sizeof(last));
  }

  int64_t copies() const { return copies_; }

 private:
  float* StatesOf(int64_t copy) {
    return static_cast<float*>(states_->data()) + copy * copy_floats_;
  }

  CaseData data_;
  const StateLayout layout_;
  int64_t position_;
  std::vector<Segment> segments_;
  int64_t slot_floats_ = 0;
  int64_t copy_floats_ = 0;
  int64_t copies_ = 0;
  std::unique_ptr<Buffer> states_;
  LinearAttention op_;
};

double BytesOf(const ModelConfig& config, int32_t rows) {
  return 4.0 * rows * StepBytes(config).LayerAttentionFloats();
}

struct Bench {
  const AttentionBenchOptions& options;
  Backend& backend;
  Ceiling& ceiling;
  const Output& output;
  json& object;
};

// `plain`: null for the row without replay.
absl::Status MeasureRow(const Bench& bench, const std::string& size,
                        const ModelConfig& config, int32_t rows,
                        AttentionSteps& steps, AttentionSteps* plain) {
  const int32_t period = config.attention_replay;
  const int64_t tokens = period == 0 ? kPlainTokens : period;
  const auto calls = static_cast<double>(tokens * steps.copies());
  PairOptions plan;
  plan.seconds = bench.options.seconds;
  plan.pairs = bench.options.pairs;
  plan.warm_up_seconds = bench.options.seconds;
  const double bytes = BytesOf(config, rows);
  const auto step = [&] { return steps.Step(tokens); };
  const auto peer = [&] { return plain->Step(tokens); };
  absl::StatusOr<PairedResult> result =
      plain == nullptr
          ? RunPairs(plan, bytes * calls, bench.ceiling, step)
          : RunPairs(plan, bytes * calls, bench.ceiling, step, peer);
  if (!result.ok()) return result.status();
  json row = result->ToJson();
  const double seconds = row["step_seconds_p50"].get<double>() / calls;
  row["size"] = size;
  row["rows"] = rows;
  row["attention_replay"] = period;
  row["call_seconds"] = seconds;
  row["call_bytes"] = bytes;
  row["calls"] = calls;
  std::string text = absl::StrFormat(
      "%-5s %4d rows  replay %-3s  %8.2f us a call %8.1f GB/s  %6.3f of the "
      "ceiling, IQR %.3f %s",
      size, rows, period == 0 ? "off" : absl::StrCat(period), 1e6 * seconds,
      bytes / seconds / 1e9, row["share_of_ceiling"].get<double>(),
      row["share_iqr"].get<double>(),
      row["conclusive"].get<bool>() ? "" : "inconclusive");
  if (plain != nullptr) {
    // As many calls on as many rows, but perhaps other numbers of copies.
    const double gain = result->peer.median *
                        static_cast<double>(steps.copies()) /
                        static_cast<double>(plain->copies());
    const double most = ReplayGain(config, period);
    row["gain"] = gain;
    row["gain_ceiling"] = most;
    row["gain_share"] = gain / most;
    absl::StrAppend(&text, absl::StrFormat("  gain %.3f of at most %.3f: %.3f",
                                           gain, most, gain / most));
  }
  bench.output.Line(text);
  bench.object["rows"].push_back(std::move(row));
  return absl::OkStatus();
}

absl::Status MeasureSize(const Bench& bench, const std::string& size) {
  absl::StatusOr<ModelConfig> config =
      NamedSize(size, LongConvKind::kHierarchical);
  if (!config.ok()) return config.status();
  const AttentionBenchOptions& options = bench.options;
  for (const int32_t rows : options.rows) {
    AttentionSteps plain(bench.backend, *config, rows, options.position);
    CHELA_RETURN_IF_ERROR(plain.MakeStates());
    CHELA_RETURN_IF_ERROR(
        MeasureRow(bench, size, *config, rows, plain, nullptr));
    for (const int32_t period : options.replays) {
      ModelConfig replayed = *config;
      CHELA_RETURN_IF_ERROR(replayed.SetAttentionReplay(period));
      AttentionSteps steps(bench.backend, replayed, rows, options.position);
      CHELA_RETURN_IF_ERROR(steps.MakeStates());
      CHELA_RETURN_IF_ERROR(
          MeasureRow(bench, size, replayed, rows, steps, &plain));
    }
  }
  return absl::OkStatus();
}

}  // namespace

double ReplayGain(const ModelConfig& config, int32_t period) {
  const double dk = config.key_dim();
  const double dv = config.head_value_dim();
  const double r = (dk + dv) / (dk * dv);
  return 2 / (1 + 1.0 / period + (period + 1) / 2.0 * r);
}

absl::Status RunAttentionBench(const AttentionBenchOptions& options,
                               const Output& output) {
  CHELA_RETURN_IF_ERROR(CheckRows(options.rows));
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();
  absl::StatusOr<std::unique_ptr<Ceiling>> ceiling = MakeCeiling(**backend);
  if (!ceiling.ok()) return ceiling.status();
  const BackendInfo info = (*backend)->Info();
  json object = {{"machine", DescribeHost()},
                 {"device",
                  {{"name", info.name},
                   {"device", info.device},
                   {"kernels", info.kernels},
                   {"threads", info.threads}}},
                 {"rows", json::array()}};
  const Bench bench = {options, **backend, **ceiling, output, object};
  for (const std::string& size : options.sizes) {
    CHELA_RETURN_IF_ERROR(MeasureSize(bench, size));
  }
  return output.Write(object);
}

}  // namespace chela::bench
