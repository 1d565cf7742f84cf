#include "kernels/cuda/collected_step.h"

#include <initializer_list>
#include <utility>

#include "kernels/cuda/cuda_matrix.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

constexpr size_t kLayerOps = 7;

// Ops one after the other, as long as they are of the kinds that are asked for.
class Reader {
 public:
  explicit Reader(std::span<const StepOp> ops) : ops_(ops) {}
  template <typename Op>
  const Op* Next() {
    return at_ < ops_.size() ? std::get_if<Op>(&ops_[at_++]) : nullptr;
  }

 private:
  std::span<const StepOp> ops_;
  size_t at_ = 0;
};

bool Aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  }
  return true;
}

// A matrix that the whole step can stream; its dtype must be the table's.
bool Streams(const Matrix* matrix, DType dtype, int64_t rows, int64_t cols) {
  const WeightView& view = ViewOf(matrix);
  return view.dtype == dtype && view.rows == rows && view.cols == cols &&
         view.stride == view.cols;
}

bool Reads(const Embedding& op, WholeStep* step) {
  const WeightView& table = ViewOf(op.table);
  step->dtype = table.dtype;
  step->width = table.cols;
  step->table = table.data;
  step->table_stride = table.stride;
  step->multiplier = op.multiplier;
  step->out = op.out;
  return table.dtype == DType::kBF16 || table.dtype == DType::kF16;
}

// Fills `layer` from one layer's ops; false if they are no layer that the whole
// step takes. The first one sets the step's sizes, the others must agree.
bool Reads(Reader& ops, bool first, WholeStep* step, StepLayer* layer) {
  const auto* short_conv = ops.Next<ShortConvolution>();
  const auto* long_conv = ops.Next<HierarchicalConvolution>();
  const auto* projections = ops.Next<Linear>();
  const auto* value = ops.Next<Linear>();
  const auto* attention = ops.Next<LinearAttention>();
  const auto* output = ops.Next<GatedOutput>();
  const auto* feed = ops.Next<FeedForward>();
  if (short_conv == nullptr || long_conv == nullptr || projections == nullptr ||
      value == nullptr || attention == nullptr || output == nullptr ||
      feed == nullptr || feed->kind != FeedForwardKind::kSwiglu ||
      attention->replay.period != 0 ||
      short_conv->norm.kind != NormKind::kRms ||
      feed->norm.kind != NormKind::kRms) {
    return false;
  }
  WholeStep sizes = *step;
  sizes.heads = attention->heads;
  sizes.shared = attention->heads * attention->key_dim;
  sizes.value = attention->heads * attention->value_dim;
  sizes.inner = static_cast<int32_t>(feed->down->cols());
  sizes.norm1_eps = short_conv->norm.eps;
  sizes.norm2_eps = feed->norm.eps;
  if (first) *step = sizes;
  const bool same =
      sizes.heads == step->heads && sizes.shared == step->shared &&
      sizes.value == step->value && sizes.inner == step->inner &&
      sizes.norm1_eps == step->norm1_eps && sizes.norm2_eps == step->norm2_eps;
  // Every result goes where the next op reads it.
  const int64_t width = step->width;
  const float* const from = projections->out;
  const bool chained =
      short_conv->x == step->out && long_conv->a == short_conv->a &&
      projections->x == long_conv->c && value->x == short_conv->u &&
      attention->shared.data == from &&
      attention->reset.data == from + step->shared &&
      attention->value.data == value->out && output->x == attention->out &&
      output->gate.data == from + step->shared + step->value &&
      output->candidate.data == output->gate.data + width &&
      output->residual == step->out && output->out == step->out &&
      feed->y == step->out && feed->out == step->out;
  const bool streams =
      short_conv->width == width && long_conv->width == width &&
      Streams(value->weight, step->dtype, step->value, width) &&
      Streams(projections->weight, step->dtype,
              step->shared + step->value + 2 * width, width) &&
      Streams(output->weight, step->dtype, width, step->value) &&
      Streams(feed->up, step->dtype, 2 * int64_t{step->inner}, width) &&
      Streams(feed->down, step->dtype, width, step->inner);
  const bool aligned =
      Aligned({short_conv->norm.weight, short_conv->weight, short_conv->bias,
               short_conv->state.data, long_conv->taps0, long_conv->taps,
               long_conv->skip, long_conv->state.data, attention->norm_weight,
               attention->state.data, feed->norm.weight}) &&
      short_conv->state.slot_stride % 4 == 0;
  if (!same || !chained || !streams || !aligned) return false;
  *layer = {.short_conv = *short_conv,
            .long_conv = *long_conv,
            .attention = *attention,
            .value_bias = value->bias,
            .projections_bias = projections->bias,
            .norm2_weight = feed->norm.weight};
  const Matrix* const weights[] = {value->weight, projections->weight,
                                   output->weight, feed->up, feed->down};
  for (size_t i = 0; i < std::size(weights); ++i) {
    layer->weights[i] = static_cast<const uint16_t*>(ViewOf(weights[i]).data);
  }
  return true;
}

std::optional<std::pair<WholeStep, std::vector<StepLayer>>> Reads(
    std::span<const StepOp> ops) {
  WholeStep step;
  Reader reader(ops);
  const auto* embedding = reader.Next<Embedding>();
  if (embedding == nullptr || !Reads(*embedding, &step) ||
      ops.size() % kLayerOps != 1) {
    return std::nullopt;
  }
  std::vector<StepLayer> layers(ops.size() / kLayerOps);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!Reads(reader, i == 0, &step, &layers[i])) return std::nullopt;
  }
  step.layers = static_cast<int32_t>(layers.size());
  return std::pair(step, std::move(layers));
}

}  // namespace

ExchangePlaces PlacesOf(const WholeStep& step) {
  ExchangePlaces at;
  at.y = at.x + kReplicas * step.width;
  at.gated = at.y + kReplicas * step.width;
  at.inner = at.gated + kReplicas * step.value / 2;
  at.value = at.inner + kReplicas * step.inner / 2;
  at.projections = at.value + step.value;
  at.squares = at.projections + step.shared + step.value + 2 * step.width;
  at.end = at.squares + step.value / 64;
  return at;
}

bool WholeSteps::Collects(uint64_t program) const {
  const auto found = plans_.find(program);
  return found == plans_.end() || found->second.has_value();
}

absl::StatusOr<const WholeStep*> WholeSteps::Find(uint64_t program,
                                                  std::span<const StepOp> ops,
                                                  const Device& device,
                                                  cudaStream_t stream) {
  auto found = plans_.find(program);
  if (found == plans_.end()) {
    std::optional<Plan> plan;
    const auto read = Reads(ops);
    if (read.has_value() && !read->second.empty() &&
        WholeStepTakes(read->first, read->second[0], device.processors,
                       device.shared_bytes)) {
      absl::StatusOr<Plan> made = Make(read->first, read->second, stream);
      if (!made.ok()) return made.status();
      plan = *std::move(made);
    }
    found = plans_.emplace(program, std::move(plan)).first;
  }
  return found->second.has_value() ? &found->second->step : nullptr;
}

absl::StatusOr<WholeSteps::Plan> WholeSteps::Make(
    WholeStep step, std::span<const StepLayer> layers, cudaStream_t stream) {
  const size_t exchange_at = (layers.size_bytes() + 255) / 256 * 256;
  const auto words = static_cast<size_t>(ExchangeWords(step));
  const size_t past_at = exchange_at + words * sizeof(uint64_t);
  const size_t epoch_at = past_at + layers.size() * 2 *
                                        static_cast<size_t>(step.width) *
                                        sizeof(float);
  absl::StatusOr<DeviceBuffer> memory =
      DeviceBuffer::Allocate(epoch_at + sizeof(uint32_t));
  if (!memory.ok()) return memory.status();
  auto* const begin = static_cast<std::byte*>(memory->data());
  constexpr const char* kDoing = "copy the table of a step";
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(begin, layers.data(), layers.size_bytes(),
                                 cudaMemcpyHostToDevice, stream),
                 kDoing));
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), kDoing));
  step.places = PlacesOf(step);
  step.layer = reinterpret_cast<const StepLayer*>(begin);
  step.exchange = reinterpret_cast<uint64_t*>(begin + exchange_at);
  step.past = reinterpret_cast<float*>(begin + past_at);
  step.epoch = reinterpret_cast<uint32_t*>(begin + epoch_at);
  return Plan{step, *std::move(memory)};
}

}  // namespace chela::cuda
