#include "server/tools/bench/step_bytes.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/explicit_layout.h"

namespace chela::bench {
namespace {

constexpr double kFloat = 4;

// Of something that each sequence touches in a share `p` of its steps, the
// share of steps in which any of `batch` does.
double Touched(double p, int32_t batch, bool spread) {
  return spread ? 1 - std::pow(1 - p, batch) : p;
}

int64_t Ring(const ModelConfig& config) {
  return static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(config.long_conv_length)));
}

// An output meets on average this many earlier inputs of its aligned block of
// P = min(M, kNearTaps) directly.
double NearInputs(int64_t ring) {
  return static_cast<double>(std::min(ring, kNearTaps) - 1) / 2;
}

// A channel's floats of state a token. Emitting a token reads its pending
// output and the earlier inputs of its block and writes the input. A tile of U
// = P, 2P .. M/2 runs every 2U tokens, reads U inputs and adds to U outputs;
// the tile of M runs every M tokens and overwrites what it reads.
double ExplicitStateFloats(int64_t ring) {
  double floats = 2 + NearInputs(ring) + 2;
  for (int64_t u = kNearTaps; u < ring; u *= 2) floats += 1.5;
  return floats;
}

}  // namespace

double StepBytes::MatrixBytes(double elements, double outputs) const {
  return elements * static_cast<double>(SizeOf(matrices_)) +
         (matrices_ == DType::kI8 ? kFloat * outputs : 0);
}

double StepBytes::LayerMatrices() const {
  const double d = config_.hidden_size;
  const double v = config_.value_dim;
  const double rows = static_cast<double>(config_.projection_rows());
  const double products = config_.ffn == FeedForwardKind::kSwiglu ? 3 : 2;
  const double f = config_.intermediate_size;
  const double elements = rows * d + 2 * v * d + products * f * d;
  return MatrixBytes(elements, rows + v + d + (products - 1) * f + d) +
         (rows + v) * static_cast<double>(SizeOf(config_.torch_dtype));
}

double StepBytes::LayerVectors() const {
  const double d = config_.hidden_size;
  const double norm = config_.norm == NormKind::kLayer ? 2 * d : d;
  return kFloat *
         ((config_.short_conv_kernel_size + 1) * d + 2 * norm + d +
          4.0 * config_.shared_dim + config_.value_dim + config_.num_heads);
}

double StepBytes::LayerTaps(int32_t batch, bool spread) const {
  double taps = 0;
  if (config_.long_conv_kind == LongConvKind::kHierarchical) {
    taps = config_.long_conv_base_length;
    for (int32_t j = 1; j <= config_.levels(); ++j) {
      taps += config_.long_conv_base_length / 2.0 *
              Touched(std::ldexp(1, -j), batch, spread);
    }
  } else {
    const int64_t ring = Ring(config_);
    taps = spread && batch > 1 ? static_cast<double>(std::min(ring, kNearTaps))
                               : 1 + NearInputs(ring);
    for (int64_t u = kNearTaps; u <= ring; u *= 2) {
      const double period = static_cast<double>(u < ring ? 2 * u : u);
      taps += 2.0 * static_cast<double>(u) * Touched(1 / period, batch, spread);
    }
  }
  return kFloat * taps * config_.hidden_size;
}

double StepBytes::Weights(int32_t batch, bool spread) const {
  const double d = config_.hidden_size;
  const double layer =
      LayerMatrices() + LayerVectors() + LayerTaps(batch, spread);
  const double vocab = config_.vocab_size;
  const double head = MatrixBytes(vocab * d, vocab);
  // A tied embedding row is part of the head that was read already, but at the
  // other end of a step that has emptied the caches in between.
  const double embedding = MatrixBytes(batch * d, batch);
  const double final_norm =
      kFloat * d * (config_.norm == NormKind::kLayer ? 2 : 1);
  return config_.num_hidden_layers * layer + head + embedding + final_norm;
}

// With replay a state is read at every token and written at every R-th; of the
// ring, R - 1 tokens of a period write an entry, and read those before it.
double StepBytes::LayerAttentionFloats() const {
  const double state =
      1.0 * config_.num_heads * config_.key_dim() * config_.head_value_dim();
  if (config_.attention_replay == 0) return 2 * state;
  const double period = config_.attention_replay;
  const double entries = (period - 1) / 2 + (period - 1) / period;
  return state * (1 + 1 / period) +
         entries * (config_.shared_dim + config_.value_dim);
}

double StepBytes::State() const {
  const double d = config_.hidden_size;
  const double attention = LayerAttentionFloats();
  const double short_conv = config_.short_conv_kernel_size > 1
                                ? config_.short_conv_kernel_size * d
                                : 0;
  double long_conv = 0;
  if (config_.long_conv_kind == LongConvKind::kHierarchical) {
    const double base = config_.long_conv_base_length;
    const double fired = 1 - std::ldexp(1, -config_.levels());
    long_conv = d * (base + 1 + fired * (base / 2 + 3));
  } else {
    long_conv = d * ExplicitStateFloats(Ring(config_));
  }
  return config_.num_hidden_layers * kFloat *
         (attention + short_conv + long_conv);
}

int64_t StepBytes::Period() const {
  return config_.long_conv_kind == LongConvKind::kHierarchical
             ? int64_t{1} << config_.levels()
             : Ring(config_);
}

}  // namespace chela::bench
