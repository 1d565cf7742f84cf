#include "server/tools/bench/explicit_bench.h"

#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/named_sizes.h"
#include "server/tools/bench/clock.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/kernel_bench.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

using nlohmann::json;

constexpr int64_t kBurst = 64;  // steps between two looks at their results

std::vector<float> RandomValues(int64_t count) {
  std::mt19937 random(3);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = 0x1p-31f * static_cast<float>(static_cast<int32_t>(random()));
  }
  return values;
}

// Layers of explicit convolutions on states of their own.
class ExplicitLayers {
 public:
  ExplicitLayers(Backend& backend, const ModelConfig& config, int64_t layers,
                 int64_t slots, int64_t rows)
      : backend_(backend),
        config_(config),
        layers_(layers),
        slots_(slots),
        rows_(rows) {}

  absl::Status Make() {
    const int64_t d = config_.hidden_size;
    const std::vector<float> taps = RandomValues(d * config_.long_conv_length);
    const int64_t slot = config_.long_conv_state_rows() * d;
    const std::vector<float> state = RandomValues(slot);
    CHELA_RETURN_IF_ERROR(Add(rows_ * d, &a_));
    CHELA_RETURN_IF_ERROR(Add(rows_ * d, &c_));
    CHELA_RETURN_IF_ERROR(Add(d, &skip_));
    const std::vector<float> input = RandomValues(rows_ * d);
    CHELA_RETURN_IF_ERROR(
        backend_.Upload(input.data(), a_, input.size() * sizeof(float)));
    for (int64_t layer = 0; layer < layers_; ++layer) {
      absl::StatusOr<std::unique_ptr<ExplicitKernel>> kernel =
          backend_.MakeExplicitKernel(taps.data(), config_.hidden_size,
                                      config_.long_conv_length);
      if (!kernel.ok()) return kernel.status();
      float* states = nullptr;
      CHELA_RETURN_IF_ERROR(Add(slots_ * slot, &states));
      const size_t bytes = static_cast<size_t>(slot) * sizeof(float);
      CHELA_RETURN_IF_ERROR(backend_.Upload(state.data(), states, bytes));
      for (int64_t i = 1; i < slots_; ++i) {
        CHELA_RETURN_IF_ERROR(backend_.Copy(states, states + i * slot, bytes));
      }
      ops_.push_back({.kernel = kernel->get(),
                      .layer = static_cast<int32_t>(layer),
                      .a = a_,
                      .skip = skip_,
                      .state = {states, slot},
                      .c = c_});
      kernels_.push_back(*std::move(kernel));
    }
    return absl::OkStatus();
  }

  absl::Status Run() {
    for (const ExplicitConvolution& op : ops_) {
      CHELA_RETURN_IF_ERROR(backend_.Run(op));
    }
    return absl::OkStatus();
  }
  // Until all that was enqueued is done.
  absl::Status Wait() {
    float value = 0;
    return backend_.Download(c_, &value, sizeof(value));
  }

 private:
  absl::Status Add(int64_t floats, float** data) {
    absl::StatusOr<std::unique_ptr<Buffer>> buffer =
        backend_.Allocate(static_cast<size_t>(floats) * sizeof(float));
    if (!buffer.ok()) return buffer.status();
    *data = static_cast<float*>((*buffer)->data());
    buffers_.push_back(*std::move(buffer));
    return absl::OkStatus();
  }

  Backend& backend_;
  const ModelConfig config_;
  const int64_t layers_;
  const int64_t slots_;
  const int64_t rows_;
  float* a_ = nullptr;
  float* c_ = nullptr;
  float* skip_ = nullptr;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::unique_ptr<ExplicitKernel>> kernels_;
  std::vector<ExplicitConvolution> ops_;
};

// Decode steps of `rows` sequences.
class DecodeSteps {
 public:
  DecodeSteps(Backend& backend, ExplicitLayers& layers, int32_t rows,
              int64_t position, int64_t spread, uint64_t program)
      : backend_(backend), layers_(layers), program_(program) {
    for (int32_t row = 0; row < rows; ++row) {
      segments_.push_back({.slot = row,
                           .first_row = row,
                           .rows = 1,
                           .position = position + row * spread / rows});
      ids_.push_back(row);
    }
  }

  absl::Status Next() {
    const auto run = [this] { return layers_.Run(); };
    const StepProgram program = {.id = program_,
                                 .tokens = ids_,
                                 .logits_rows = ids_,
                                 .draws = {},
                                 .ops = run};
    const StepRows rows = {segments_, static_cast<int32_t>(segments_.size())};
    CHELA_RETURN_IF_ERROR(backend_.RunStep(rows, program));
    for (Segment& segment : segments_) ++segment.position;
    return absl::OkStatus();
  }

 private:
  Backend& backend_;
  ExplicitLayers& layers_;
  const uint64_t program_;
  std::vector<Segment> segments_;
  std::vector<int32_t> ids_;
};

absl::StatusOr<json> MeasureDecode(double seconds, ExplicitLayers& layers,
                                   DecodeSteps& steps) {
  std::vector<double> bursts;
  std::vector<double> awaited;
  for (int i = 0; i < 8; ++i) CHELA_RETURN_IF_ERROR(steps.Next());
  CHELA_RETURN_IF_ERROR(layers.Wait());
  for (const auto start = Clock::now();
       bursts.size() < 7 || SecondsSince(start) < seconds / 2;) {
    const auto burst = Clock::now();
    for (int64_t i = 0; i < kBurst; ++i) CHELA_RETURN_IF_ERROR(steps.Next());
    CHELA_RETURN_IF_ERROR(layers.Wait());
    bursts.push_back(SecondsSince(burst) / kBurst);
  }
  for (const auto start = Clock::now();
       awaited.size() < 100 || SecondsSince(start) < seconds / 2;) {
    const auto step = Clock::now();
    CHELA_RETURN_IF_ERROR(steps.Next());
    CHELA_RETURN_IF_ERROR(layers.Wait());
    awaited.push_back(SecondsSince(step));
  }
  const Spread mean = Summarize(bursts);
  return json{{"step_seconds_mean", mean.median},
              {"step_seconds_mean_iqr", mean.iqr},
              {"steps", bursts.size() * kBurst},
              {"awaited_seconds_p50", Percentile(awaited, 0.5)},
              {"awaited_seconds_p99", Percentile(awaited, 0.99)},
              {"awaited_steps", awaited.size()}};
}

absl::Status DecodeRows(const ExplicitBenchOptions& options,
                        const ModelConfig& config, Backend& backend,
                        const Output& output, const std::string& size,
                        json* object) {
  const int64_t layer_count = config.num_hidden_layers;
  uint64_t program = 1;
  for (const int32_t rows : options.rows) {
    ExplicitLayers layers(backend, config, layer_count, rows, rows);
    CHELA_RETURN_IF_ERROR(layers.Make());
    for (const bool spread : {false, true}) {
      if (spread && rows == 1) continue;
      // Beyond the first turn of the ring all of the state is the sequence's.
      const int64_t ring = config.long_conv_state_rows();
      DecodeSteps steps(backend, layers, rows, options.position + ring,
                        spread ? ring : 0, (program++ << 32) + rows);
      absl::StatusOr<json> row = MeasureDecode(options.seconds, layers, steps);
      if (!row.ok()) return row.status();
      (*row)["size"] = size;
      (*row)["rows"] = rows;
      (*row)["layers"] = layer_count;
      (*row)["spread"] = spread;
      const auto us = [&](const char* name) {
        return 1e6 * (*row)[name].get<double>();
      };
      output.Line(absl::StrFormat(
          "%-5s decode %4d %-6s %3d layers  %9.1f us a step (IQR %.1f), "
          "awaited p50 %.1f, p99 %.1f",
          size, rows, spread ? "spread" : "equal", layer_count,
          us("step_seconds_mean"), us("step_seconds_mean_iqr"),
          us("awaited_seconds_p50"), us("awaited_seconds_p99")));
      (*object)["decode"].push_back(*std::move(row));
    }
  }
  return absl::OkStatus();
}

absl::Status PrefillRow(const ExplicitBenchOptions& options,
                        const ModelConfig& config, Backend& backend,
                        const Output& output, const std::string& size,
                        json* object) {
  const int64_t rows = options.prompts * options.prompt_tokens;
  ExplicitLayers layers(backend, config, 1, options.prompts, rows);
  CHELA_RETURN_IF_ERROR(layers.Make());
  std::vector<Segment> segments;
  for (int64_t i = 0; i < options.prompts; ++i) {
    segments.push_back(
        {.slot = static_cast<int32_t>(i),
         .first_row = static_cast<int32_t>(i * options.prompt_tokens),
         .rows = static_cast<int32_t>(options.prompt_tokens)});
  }
  std::vector<double> times;
  const auto begin = Clock::now();
  for (int i = -2; times.size() < 7 || SecondsSince(begin) < options.seconds;
       ++i) {
    CHELA_RETURN_IF_ERROR(
        backend.BeginStep({segments, static_cast<int32_t>(rows)}));
    CHELA_RETURN_IF_ERROR(layers.Wait());
    const auto start = Clock::now();
    CHELA_RETURN_IF_ERROR(layers.Run());
    CHELA_RETURN_IF_ERROR(layers.Wait());
    if (i >= 0) times.push_back(SecondsSince(start));
  }
  const Spread spread = Summarize(times);
  output.Line(absl::StrFormat(
      "%-5s prefill [%d x %d, %d]  %9.1f us (IQR %.1f, %d runs)", size,
      options.prompts, options.prompt_tokens, config.hidden_size,
      1e6 * spread.median, 1e6 * spread.iqr, times.size()));
  (*object)["prefill"].push_back({{"size", size},
                                  {"prompts", options.prompts},
                                  {"tokens", options.prompt_tokens},
                                  {"seconds", spread.median},
                                  {"seconds_iqr", spread.iqr},
                                  {"runs", times.size()}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunExplicitBench(const ExplicitBenchOptions& options,
                              const Output& output) {
  CHELA_RETURN_IF_ERROR(CheckRows(options.rows));
  if (options.prompts < 1 || options.prompt_tokens < 2 ||
      options.prompts > (1 << 22) / options.prompt_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--prompts ", options.prompts, ", --prompt-tokens ",
        options.prompt_tokens,
        "; want at least 1 of at least 2 tokens, 2^22 tokens together"));
  }
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();
  const BackendInfo info = (*backend)->Info();
  json object = {{"machine", DescribeHost()},
                 {"device",
                  {{"name", info.name},
                   {"device", info.device},
                   {"kernels", info.kernels},
                   {"threads", info.threads}}},
                 {"decode", json::array()},
                 {"prefill", json::array()}};
  for (const std::string& size : options.sizes) {
    const absl::StatusOr<ModelConfig> config =
        NamedSize(size, LongConvKind::kExplicit);
    if (!config.ok()) return config.status();
    CHELA_RETURN_IF_ERROR(
        DecodeRows(options, *config, **backend, output, size, &object));
    CHELA_RETURN_IF_ERROR(
        PrefillRow(options, *config, **backend, output, size, &object));
  }
  return output.Write(object);
}

}  // namespace chela::bench
