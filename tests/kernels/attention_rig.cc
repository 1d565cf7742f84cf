#include "tests/kernels/attention_rig.h"

namespace chela {

reference::AttentionWeights RandomWeights(int32_t heads, int32_t key_dim,
                                          int32_t value_dim, FeatureMap map,
                                          bool with_decay) {
  const int64_t keys = int64_t{heads} * key_dim;
  reference::AttentionWeights weights{
      .heads = heads,
      .key_dim = key_dim,
      .value_dim = value_dim,
      .feature_map = map,
      .q_scale = RandomFloats(keys, -1, 1, 1),
      .q_bias = RandomFloats(keys, -1, 1, 2),
      .k_scale = RandomFloats(keys, -1, 1, 3),
      .k_bias = RandomFloats(keys, -1, 1, 4),
      .norm_weight = RandomFloats(int64_t{heads} * value_dim, -2, 2, 5),
      .decay = {}};
  if (with_decay) weights.decay = RandomFloats(heads, 0.5, 1, 6);
  return weights;
}

std::vector<float> AttentionOn::Step(const Rows& rows,
                                     const std::vector<float>& inputs) {
  const int64_t stride = keys_ + 2 * values_;
  Tensor in(backend_, inputs);
  Tensor out(backend_, rows.count * values_);
  EXPECT_TRUE(backend_.BeginStep(rows.step()).ok());
  const absl::Status status = backend_.Run(
      LinearAttention{.heads = weights_.heads,
                      .key_dim = weights_.key_dim,
                      .value_dim = weights_.value_dim,
                      .feature_map = weights_.feature_map,
                      .norm_eps = weights_.norm_eps,
                      .shared = {in.data(), stride},
                      .value = {in.data() + keys_, stride},
                      .reset = {in.data() + keys_ + values_, stride},
                      .q_scale = q_scale_.data(),
                      .q_bias = q_bias_.data(),
                      .k_scale = k_scale_.data(),
                      .k_bias = k_bias_.data(),
                      .norm_weight = norm_weight_.data(),
                      .decay = weights_.decay.empty() ? nullptr : decay_.data(),
                      .state = {state_.data(), slot_stride()},
                      .replay = {.period = period_,
                                 .offset = offset_,
                                 .ring = {ring_.data(), ring_stride()}},
                      .out = out.data()});
  EXPECT_TRUE(status.ok()) << status;
  return out.Read();
}

std::vector<float> AttentionOn::Feed(int32_t slot, const Tokens& tokens,
                                     const std::vector<int32_t>& sizes) {
  const auto count = static_cast<int64_t>(tokens.rows.size()) / tokens.stride;
  std::vector<float> all;
  for (const Segment& part : Split(slot, static_cast<int32_t>(count), sizes)) {
    const std::vector<float> out = StepOf(part, tokens);
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

void AttentionOn::CopySlot(int32_t from, int32_t to) {
  const int64_t state = slot_stride() - kAttentionGap;
  const int64_t ring = ring_stride() - kAttentionGap;
  EXPECT_TRUE(backend_
                  .Copy(state_.data() + from * slot_stride(),
                        state_.data() + to * slot_stride(),
                        static_cast<size_t>(state) * sizeof(float))
                  .ok());
  EXPECT_TRUE(backend_
                  .Copy(ring_.data() + from * ring_stride(),
                        ring_.data() + to * ring_stride(),
                        static_cast<size_t>(ring) * sizeof(float))
                  .ok());
}

void AttentionOn::SetCount(int32_t slot, float count) {
  const AttentionReplay replay = {.period = period_, .offset = 0, .ring = {}};
  for (int32_t head = 0; head < weights_.heads; ++head) {
    float* const at =
        ring_.data() + slot * ring_stride() +
        head * replay.head_floats(weights_.key_dim, weights_.value_dim) +
        replay.count_at(weights_.key_dim);
    EXPECT_TRUE(backend_.Upload(&count, at, sizeof(count)).ok());
  }
}

int64_t RingCount(const std::vector<float>& ring,
                  const reference::AttentionWeights& weights, int32_t period,
                  int32_t head) {
  const AttentionReplay replay = {.period = period, .offset = 0, .ring = {}};
  const int64_t at =
      head * replay.head_floats(weights.key_dim, weights.value_dim) +
      replay.count_at(weights.key_dim);
  return static_cast<int64_t>(ring[static_cast<size_t>(at)]);
}

}  // namespace chela
