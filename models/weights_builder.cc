#include "models/weights_builder.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

// Vectors begin at multiples of 64 floats (256 bytes, as Allocate aligns).
constexpr size_t kAlignment = 64;

size_t Aligned(size_t floats) {
  return (floats + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

WeightsBuilder::WeightsBuilder(Backend& backend, const ModelConfig& config,
                               TensorSource& source, DType matrices)
    : backend_(backend),
      source_(source),
      matrices_(matrices),
      weights_(new Weights()) {
  weights_->config_ = config;
  for (TensorSpec& spec : TensorSpecs(config)) {
    std::string name = spec.name;
    specs_.emplace(std::move(name), std::move(spec));
  }
}

const TensorSpec& WeightsBuilder::Spec(const char* name) const {
  const auto found = specs_.find(absl::StrCat(prefix_, name));
  assert(found != specs_.end());
  return found->second;
}

void WeightsBuilder::Stage(std::vector<float> values, const float** target) {
  staged_.emplace_back(std::move(values), target);
}

absl::Status WeightsBuilder::ReadVector(Names names, const float** target) {
  std::vector<float> stacked;
  for (const char* name : names) {
    const absl::StatusOr<std::vector<float>> values =
        source_.Vector(Spec(name));
    if (!values.ok()) return values.status();
    stacked.insert(stacked.end(), values->begin(), values->end());
  }
  Stage(std::move(stacked), target);
  return absl::OkStatus();
}

absl::Status WeightsBuilder::ReadTransposed(const char* name,
                                            const float** target) {
  const TensorSpec& spec = Spec(name);
  const absl::StatusOr<std::vector<float>> values = source_.Vector(spec);
  if (!values.ok()) return values.status();
  const size_t taps = static_cast<size_t>(spec.shape.back());
  const size_t width = static_cast<size_t>(spec.shape[spec.shape.size() - 2]);
  std::vector<float> transposed(values->size());
  for (size_t i = 0; i < values->size(); ++i) {
    const size_t tap = i % taps;
    const size_t channel = i / taps % width;
    const size_t level = i / (taps * width);
    transposed[(level * taps + tap) * width + channel] = (*values)[i];
  }
  Stage(std::move(transposed), target);
  return absl::OkStatus();
}

absl::Status WeightsBuilder::ReadMatrix(Names names,
                                        std::unique_ptr<Matrix>& target) {
  std::vector<HostMatrix> matrices;
  std::vector<MatrixPart> parts;
  for (const char* name : names) {
    absl::StatusOr<HostMatrix> matrix = source_.Matrix(Spec(name));
    if (!matrix.ok()) return matrix.status();
    parts.push_back(matrix->part);
    matrices.push_back(*std::move(matrix));  // Keeps the part's memory.
  }
  const int64_t cols = Spec(*names.begin()).shape[1];
  absl::StatusOr<std::unique_ptr<Matrix>> packed =
      backend_.Pack(parts, cols, matrices_);
  if (!packed.ok()) {
    return absl::Status(packed.status().code(),
                        absl::StrCat(Spec(*names.begin()).name, ": ",
                                     packed.status().message()));
  }
  target = *std::move(packed);
  return absl::OkStatus();
}

absl::Status WeightsBuilder::ReadNorm(const std::string& name, Norm& norm) {
  const ModelConfig& config = weights_->config_;
  norm.kind = config.norm;
  norm.eps = config.norm_eps;
  const std::string weight = absl::StrCat(name, ".weight");
  CHELA_RETURN_IF_ERROR(ReadVector({weight.c_str()}, &norm.weight));
  if (config.norm == NormKind::kRms) return absl::OkStatus();
  const std::string bias = absl::StrCat(name, ".bias");
  return ReadVector({bias.c_str()}, &norm.bias);
}

absl::Status WeightsBuilder::ReadConvolutions(LayerWeights& layer) {
  const ModelConfig& config = weights_->config_;
  CHELA_RETURN_IF_ERROR(
      ReadTransposed("short_conv.weight", &layer.short_weight));
  CHELA_RETURN_IF_ERROR(ReadVector({"short_conv.bias"}, &layer.short_bias));
  CHELA_RETURN_IF_ERROR(ReadVector({"long_conv.skip"}, &layer.long_skip));
  if (config.long_conv_kind == LongConvKind::kHierarchical) {
    CHELA_RETURN_IF_ERROR(ReadTransposed("long_conv.taps0", &layer.taps0));
    return ReadTransposed("long_conv.taps", &layer.taps);
  }
  const absl::StatusOr<std::vector<float>> kernel =
      source_.Vector(Spec("long_conv.kernel"));
  if (!kernel.ok()) return kernel.status();
  absl::StatusOr<std::unique_ptr<ExplicitKernel>> made =
      backend_.MakeExplicitKernel(kernel->data(), config.hidden_size,
                                  config.long_conv_length);
  if (!made.ok()) return made.status();
  layer.explicit_kernel = *std::move(made);
  return absl::OkStatus();
}

absl::Status WeightsBuilder::ReadAttention(LayerWeights& layer) {
  CHELA_RETURN_IF_ERROR(ReadMatrix(
      {"attention.shared_proj.weight", "attention.reset_gate.weight",
       "attention.update_gate.weight", "attention.candidate_proj.weight"},
      layer.projections));
  CHELA_RETURN_IF_ERROR(ReadVector(
      {"attention.shared_proj.bias", "attention.reset_gate.bias",
       "attention.update_gate.bias", "attention.candidate_proj.bias"},
      &layer.projections_bias));
  CHELA_RETURN_IF_ERROR(
      ReadMatrix({"attention.value_proj.weight"}, layer.value_proj));
  CHELA_RETURN_IF_ERROR(
      ReadVector({"attention.value_proj.bias"}, &layer.value_bias));
  CHELA_RETURN_IF_ERROR(ReadVector({"attention.q_scale"}, &layer.q_scale));
  CHELA_RETURN_IF_ERROR(ReadVector({"attention.q_bias"}, &layer.q_bias));
  CHELA_RETURN_IF_ERROR(ReadVector({"attention.k_scale"}, &layer.k_scale));
  CHELA_RETURN_IF_ERROR(ReadVector({"attention.k_bias"}, &layer.k_bias));
  CHELA_RETURN_IF_ERROR(
      ReadVector({"attention.norm.weight"}, &layer.attention_norm));
  if (source_.Has(Spec("attention.decay"))) {
    CHELA_RETURN_IF_ERROR(ReadVector({"attention.decay"}, &layer.decay));
  }
  return ReadMatrix({"attention.out_proj.weight"}, layer.out_proj);
}

absl::Status WeightsBuilder::ReadLayer(LayerWeights& layer) {
  CHELA_RETURN_IF_ERROR(ReadNorm("norm1", layer.norm1));
  CHELA_RETURN_IF_ERROR(ReadConvolutions(layer));
  CHELA_RETURN_IF_ERROR(ReadAttention(layer));
  CHELA_RETURN_IF_ERROR(ReadNorm("norm2", layer.norm2));
  if (weights_->config_.ffn == FeedForwardKind::kSwiglu) {
    CHELA_RETURN_IF_ERROR(ReadMatrix(
        {"ffn.gate_proj.weight", "ffn.up_proj.weight"}, layer.ffn_up));
  } else {
    CHELA_RETURN_IF_ERROR(ReadMatrix({"ffn.up_proj.weight"}, layer.ffn_up));
  }
  return ReadMatrix({"ffn.down_proj.weight"}, layer.ffn_down);
}

absl::Status WeightsBuilder::Flush() {
  size_t floats = 0;
  for (const auto& [values, target] : staged_) floats += Aligned(values.size());
  std::vector<float> block(floats, 0.0f);
  absl::StatusOr<std::unique_ptr<Buffer>> buffer =
      backend_.Allocate(floats * sizeof(float));
  if (!buffer.ok()) return buffer.status();
  const float* device = static_cast<const float*>((*buffer)->data());
  size_t offset = 0;
  for (const auto& [values, target] : staged_) {
    std::copy(values.begin(), values.end(),
              block.begin() + static_cast<std::ptrdiff_t>(offset));
    *target = device + offset;
    offset += Aligned(values.size());
  }
  staged_.clear();
  CHELA_RETURN_IF_ERROR(
      backend_.Upload(block.data(), (*buffer)->data(), floats * sizeof(float)));
  weights_->vectors_.push_back(*std::move(buffer));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Weights>> WeightsBuilder::Build(
    std::string fingerprint) {
  const ModelConfig& config = weights_->config_;
  weights_->fingerprint_ = std::move(fingerprint);
  CHELA_RETURN_IF_ERROR(
      ReadMatrix({"model.embed_tokens.weight"}, weights_->embedding_));
  if (!config.tie_word_embeddings) {
    CHELA_RETURN_IF_ERROR(ReadMatrix({"lm_head.weight"}, weights_->head_));
  }
  CHELA_RETURN_IF_ERROR(ReadNorm("model.norm", weights_->final_norm_));
  CHELA_RETURN_IF_ERROR(Flush());
  // The final size at once: Flush writes through pointers into the elements.
  weights_->layers_.resize(static_cast<size_t>(config.num_hidden_layers));
  for (int32_t i = 0; i < config.num_hidden_layers; ++i) {
    prefix_ = LayerPrefix(i);
    CHELA_RETURN_IF_ERROR(ReadLayer(weights_->layers_[static_cast<size_t>(i)]));
    CHELA_RETURN_IF_ERROR(Flush());
  }
  return std::move(weights_);
}

}  // namespace chela
