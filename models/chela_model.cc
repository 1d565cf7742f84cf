#include "models/chela_model.h"

#include <atomic>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

// Regions begin at multiples of 64 floats (256 bytes, as Allocate aligns).
constexpr int64_t kAlignment = 64;

}  // namespace

// One block; every region is [max_rows, its width].
struct ChelaModel::Activations {
  std::unique_ptr<Buffer> buffer;
  float* x = nullptr;            // residual stream, [.., d]
  float* u = nullptr;            // normed input, [.., d]
  float* a = nullptr;            // after the short convolution, [.., d]
  float* c = nullptr;            // after the long convolution, [.., d]
  float* projections = nullptr;  // of c: shared, reset, update, candidate
  float* value = nullptr;        // of u, [.., v]
  float* gated = nullptr;        // r . o, [.., v]
  float* logits = nullptr;       // [.., vocab]
  float* drawn = nullptr;        // [.., 1]: int32 token ids
  // The backend keeps a span of them until its next BeginStep, which may be
  // long after the plan is gone.
  std::vector<Segment> segments;
};

ChelaModel::ChelaModel(Backend& backend, std::unique_ptr<Weights> weights,
                       int32_t max_rows)
    : backend_(backend),
      weights_(std::move(weights)),
      max_rows_(max_rows),
      activations_(std::make_shared<Activations>()) {}

absl::StatusOr<std::unique_ptr<ChelaModel>> ChelaModel::Create(
    Backend& backend, std::unique_ptr<Weights> weights, int32_t max_rows) {
  if (max_rows < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: ", max_rows, " rows a step; want at least 1"));
  }
  std::unique_ptr<ChelaModel> model(
      new ChelaModel(backend, std::move(weights), max_rows));
  const ModelConfig& config = model->config();
  Activations& at = *model->activations_;
  const std::pair<float**, int64_t> regions[] = {
      {&at.x, config.hidden_size},
      {&at.u, config.hidden_size},
      {&at.a, config.hidden_size},
      {&at.c, config.hidden_size},
      {&at.projections, config.projection_rows()},
      {&at.value, config.value_dim},
      {&at.gated, config.value_dim},
      {&at.logits, config.vocab_size},
      {&at.drawn, 1}};
  // Config bounds the widths by 2^24, so 2^31 rows of them do not overflow.
  int64_t floats = 0;
  for (const auto& [region, width] : regions) {
    floats += (width * max_rows + kAlignment - 1) / kAlignment * kAlignment;
  }
  absl::StatusOr<std::unique_ptr<Buffer>> buffer =
      backend.Allocate(static_cast<size_t>(floats) * sizeof(float));
  if (!buffer.ok()) {
    return absl::Status(buffer.status().code(),
                        absl::StrCat("activations of ", max_rows,
                                     " rows: ", buffer.status().message()));
  }
  at.buffer = *std::move(buffer);
  float* next = static_cast<float*>(at.buffer->data());
  for (const auto& [region, width] : regions) {
    *region = next;
    next += (width * max_rows + kAlignment - 1) / kAlignment * kAlignment;
  }
  return model;
}

int64_t ChelaModel::activation_bytes() const {
  return static_cast<int64_t>(activations_->buffer->size_bytes());
}

absl::Status ChelaModel::RunConvolutions(int32_t layer, StatePool& pool) {
  const Activations& at = *activations_;
  const LayerWeights& w = weights_->layers()[static_cast<size_t>(layer)];
  ShortConvolution short_conv;
  short_conv.width = config().hidden_size;
  short_conv.taps = config().short_conv_kernel_size;
  short_conv.x = at.x;
  short_conv.norm = w.norm1;
  short_conv.weight = w.short_weight;
  short_conv.bias = w.short_bias;
  short_conv.state = StateOf(pool, layer, pool.layout().short_conv);
  short_conv.u = at.u;
  short_conv.a = at.a;
  CHELA_RETURN_IF_ERROR(backend_.Run(short_conv));
  const StateView state = StateOf(pool, layer, pool.layout().long_conv);
  if (config().long_conv_kind == LongConvKind::kExplicit) {
    ExplicitConvolution long_conv;
    long_conv.kernel = w.explicit_kernel.get();
    long_conv.layer = layer;
    long_conv.a = at.a;
    long_conv.skip = w.long_skip;
    long_conv.state = state;
    long_conv.c = at.c;
    return backend_.Run(long_conv);
  }
  HierarchicalConvolution long_conv;
  long_conv.width = config().hidden_size;
  long_conv.base_length = config().long_conv_base_length;
  long_conv.levels = config().levels();
  long_conv.a = at.a;
  long_conv.taps0 = w.taps0;
  long_conv.taps = w.taps;
  long_conv.skip = w.long_skip;
  long_conv.state = state;
  long_conv.c = at.c;
  return backend_.Run(long_conv);
}

absl::Status ChelaModel::RunAttention(int32_t layer, StatePool& pool) {
  const Activations& at = *activations_;
  const LayerWeights& w = weights_->layers()[static_cast<size_t>(layer)];
  CHELA_RETURN_IF_ERROR(backend_.Run(
      Linear{at.c, w.projections.get(), w.projections_bias, at.projections}));
  CHELA_RETURN_IF_ERROR(
      backend_.Run(Linear{at.u, w.value_proj.get(), w.value_bias, at.value}));
  const int64_t stride = config().projection_rows();
  const float* reset = at.projections + config().shared_dim;
  const float* update = reset + config().value_dim;
  const float* candidate = update + config().hidden_size;
  LinearAttention attention;
  attention.heads = config().num_heads;
  attention.key_dim = config().key_dim();
  attention.value_dim = config().head_value_dim();
  attention.feature_map = config().feature_map;
  attention.norm_eps = config().norm_eps;
  attention.shared = {at.projections, stride};
  attention.value = {at.value, config().value_dim};
  attention.reset = {reset, stride};
  attention.q_scale = w.q_scale;
  attention.q_bias = w.q_bias;
  attention.k_scale = w.k_scale;
  attention.k_bias = w.k_bias;
  attention.norm_weight = w.attention_norm;
  attention.decay = w.decay;
  attention.state = StateOf(pool, layer, pool.layout().attention);
  attention.replay = {.period = config().attention_replay,
                      .offset = int64_t{layer} * config().num_heads,
                      .ring = StateOf(pool, layer, pool.layout().replay)};
  attention.out = at.gated;
  CHELA_RETURN_IF_ERROR(backend_.Run(attention));
  return backend_.Run(GatedOutput{.x = at.gated,
                                  .weight = w.out_proj.get(),
                                  .candidate = {candidate, stride},
                                  .gate = {update, stride},
                                  .residual = at.x,
                                  .out = at.x});
}

absl::Status ChelaModel::RunLayer(int32_t layer, StatePool& pool) {
  const Activations& at = *activations_;
  const LayerWeights& w = weights_->layers()[static_cast<size_t>(layer)];
  CHELA_RETURN_IF_ERROR(RunConvolutions(layer, pool));
  CHELA_RETURN_IF_ERROR(RunAttention(layer, pool));
  return backend_.Run(FeedForward{config().ffn, at.x, w.norm2, w.ffn_up.get(),
                                  w.ffn_down.get(), at.x});
}

StateView ChelaModel::StateOf(StatePool& pool, int32_t layer, int64_t part) {
  const StateLayout& layout = pool.layout();
  return {pool.data() + layer * layout.layer_floats + part, layout.slot_floats};
}

absl::Status ChelaModel::CheckPool(const StatePool& pool) const {
  const StateLayout wanted = config().state_layout();
  if (pool.layout() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("step plan: bytes of a state ", pool.slot_bytes(), "; want ",
                   wanted.slot_bytes(), ", a pool of this model's config"));
}

absl::Status ChelaModel::Forward(const StepPlan& plan, StatePool& pool,
                                 std::span<float> logits,
                                 std::span<int32_t> tokens) {
  CHELA_RETURN_IF_ERROR(CheckPool(pool));
  CHELA_RETURN_IF_ERROR(Check(plan, {.max_rows = max_rows_,
                                     .slots = pool.num_slots(),
                                     .vocab_size = config().vocab_size,
                                     .draws = draws_tokens(),
                                     .logits = logits.size(),
                                     .tokens = tokens.size()}));
  if (plan.tokens.empty()) return absl::OkStatus();
  Activations& at = *activations_;
  at.segments = plan.segments;
  const auto ops = [&] { return RunOps(plan, pool); };
  CHELA_RETURN_IF_ERROR(
      backend_.RunStep({at.segments, static_cast<int32_t>(plan.tokens.size())},
                       {.id = ProgramOf(pool),
                        .tokens = plan.tokens,
                        .logits_rows = plan.logits_rows,
                        .draws = plan.draws.inputs(),
                        .ops = ops}));
  return plan.logits_rows.empty() ? absl::OkStatus()
                                  : Collect(plan, logits, tokens);
}

absl::Status ChelaModel::Collect(const StepPlan& plan, std::span<float> logits,
                                 std::span<int32_t> tokens) {
  const size_t rows = plan.logits_rows.size();
  if (plan.draws.empty()) return ReadRows(0, rows, logits);
  // Each transfer waits for the device, so neighbours come together.
  const auto wanted = [&plan](size_t row) {
    return plan.draws.with_logits[row] != 0 || !plan.draws.draws(row);
  };
  for (size_t row = 0; row < rows; ++row) {
    if (!wanted(row)) continue;
    const size_t first = row;
    while (row + 1 < rows && wanted(row + 1)) ++row;
    CHELA_RETURN_IF_ERROR(ReadRows(first, row + 1 - first, logits));
  }
  return backend_.Download(activations_->drawn, tokens.data(),
                           tokens.size_bytes());
}

absl::Status ChelaModel::ReadRows(size_t first, size_t count,
                                  std::span<float> logits) {
  const auto vocab = static_cast<size_t>(config().vocab_size);
  return backend_.Download(activations_->logits + first * vocab,
                           logits.data() + first * vocab,
                           count * vocab * sizeof(float));
}

absl::Status ChelaModel::ReadLogits(size_t row, std::span<float> logits) {
  assert(logits.size() == static_cast<size_t>(config().vocab_size));
  return backend_.Download(activations_->logits + row * logits.size(),
                           logits.data(), logits.size_bytes());
}

absl::Status ChelaModel::PutLogits(std::span<const float> logits) {
  assert(logits.size() == static_cast<size_t>(config().vocab_size));
  return backend_.Upload(logits.data(), activations_->logits,
                         logits.size_bytes());
}

absl::StatusOr<int32_t> ChelaModel::DrawAgain(size_t row,
                                              const DrawPlan& plan) {
  const Activations& at = *activations_;
  const int32_t vocab = config().vocab_size;
  CHELA_RETURN_IF_ERROR(backend_.BeginStep({}));
  CHELA_RETURN_IF_ERROR(
      backend_.Run(Draw{.logits = at.logits + row * static_cast<size_t>(vocab),
                        .vocab = vocab,
                        .num_rows = static_cast<int32_t>(plan.rules.size()),
                        .inputs = plan.inputs(),
                        .tokens = reinterpret_cast<int32_t*>(at.drawn)}));
  int32_t token = 0;
  CHELA_RETURN_IF_ERROR(backend_.Download(at.drawn, &token, sizeof(token)));
  return token;
}

absl::Status ChelaModel::RunOps(const StepPlan& plan, StatePool& pool) {
  const Activations& at = *activations_;
  CHELA_RETURN_IF_ERROR(
      backend_.Run(Embedding{&weights_->embedding(), plan.tokens.data(),
                             config().embedding_multiplier, at.x}));
  for (int32_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    CHELA_RETURN_IF_ERROR(RunLayer(layer, pool));
  }
  if (plan.logits_rows.empty()) return absl::OkStatus();
  LogitsHead head;
  head.x = at.x;
  head.norm = weights_->final_norm();
  head.weight = &weights_->head();
  head.rows = plan.logits_rows.data();
  head.num_rows = static_cast<int32_t>(plan.logits_rows.size());
  head.logits = at.logits;
  CHELA_RETURN_IF_ERROR(backend_.Run(head));
  if (plan.draws.empty()) return absl::OkStatus();
  return backend_.Run(Draw{.logits = at.logits,
                           .vocab = config().vocab_size,
                           .num_rows = head.num_rows,
                           .inputs = plan.draws.inputs(),
                           .tokens = reinterpret_cast<int32_t*>(at.drawn)});
}

uint64_t ChelaModel::ProgramOf(StatePool& pool) {
  static std::atomic<uint64_t> next{1};
  if (pool.data() != program_states_) {
    program_states_ = pool.data();
    program_ = next.fetch_add(1, std::memory_order_relaxed);
  }
  return program_;
}

}  // namespace chela
