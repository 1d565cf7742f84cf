#include "server/tools/bench/kernel_cases.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/kernel_case_data.h"

namespace chela::bench {
namespace {

constexpr double kFloat = 4;

class CaseMaker {
 public:
  CaseMaker(Backend& backend, const ModelConfig& config, int32_t rows,
            int64_t position, std::string_view only)
      : backend_(backend),
        config_(config),
        rows_(rows),
        position_(position),
        only_(only) {}

  absl::StatusOr<std::vector<KernelCase>> Make() {
    const int64_t d = config_.hidden_size;
    const int64_t v = config_.value_dim;
    ShortConv();
    LongConv();
    Product("projections", config_.projection_rows(), d);
    Product("value_proj", v, d);
    Attention();
    Output();
    FeedForwardHalf();
    Head();
    if (!status_.ok()) return status_;
    if (cases_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("kernel cases: no op ", std::string(only_)));
    }
    return std::move(cases_);
  }

 private:
  // Adds a case that runs `op`, whose weights or state set_copy(op, copy)
  // chooses.
  template <typename Op, typename SetCopy>
  void Add(std::string name, std::string shape, double bytes, int64_t copies,
           std::shared_ptr<CaseData> data, Op op, SetCopy set_copy) {
    status_.Update(data->status());
    cases_.push_back({std::move(name), std::move(shape), bytes,
                      [=](int64_t call) -> absl::Status {
                        const int64_t copy = call % copies;
                        CHELA_RETURN_IF_ERROR(data->BeginStep(call, copy));
                        Op mine = op;
                        set_copy(*data, mine, copy);
                        return data->backend().Run(mine);
                      },
                      1});
  }

  bool Wanted(std::string_view op) const {
    return only_.empty() || only_ == op;
  }
  std::shared_ptr<CaseData> NewData() {
    return std::make_shared<CaseData>(backend_, rows_, position_);
  }
  std::string Shape(int64_t rows, int64_t cols) const {
    return absl::StrCat(rows, " x ", cols);
  }
  double MatrixBytes(int64_t rows, int64_t cols) const {
    return static_cast<double>(rows * cols) *
           static_cast<double>(SizeOf(config_.torch_dtype));
  }
  Norm MakeNorm(CaseData& data) const {
    return {NormKind::kRms, 1e-5f, data.Floats(config_.hidden_size), nullptr};
  }

  void ShortConv() {
    if (!Wanted("short_convolution")) return;
    auto data = NewData();
    const int64_t d = config_.hidden_size;
    const int32_t taps = config_.short_conv_kernel_size;
    const double state = kFloat * static_cast<double>(taps * d);
    const int64_t copies = CopiesPastCaches(rows_ * state);
    ShortConvolution op;
    op.width = config_.hidden_size;
    op.taps = taps;
    op.x = data->Floats(rows_ * d);
    op.norm = MakeNorm(*data);
    op.weight = data->Floats(taps * d);
    op.bias = data->Floats(d);
    op.state = {data->Floats(copies * rows_ * (taps - 1) * d), (taps - 1) * d};
    op.u = data->Floats(rows_ * d);
    op.a = data->Floats(rows_ * d);
    Add("short_convolution", Shape(taps, d),
        rows_ * state + kFloat * static_cast<double>((taps + 2) * d), copies,
        data, op, [](CaseData&, ShortConvolution&, int64_t) {});
  }

  void LongConv() {
    if (!Wanted("long_convolution")) return;
    auto data = NewData();
    const int64_t d = config_.hidden_size;
    const int64_t base = config_.long_conv_base_length;
    const int64_t levels = config_.levels();
    const int64_t slot = config_.long_conv_state_rows() * d;
    const double fired = 1 - std::ldexp(1, -static_cast<int>(levels));
    const double state = kFloat * static_cast<double>(d) *
                         (static_cast<double>(base) + 1 +
                          fired * (static_cast<double>(base) / 2 + 3));
    const double taps = kFloat * static_cast<double>(d) *
                        (static_cast<double>(base) * (1 + fired / 2) + 1);
    const int64_t copies =
        CopiesPastCaches(kFloat * static_cast<double>(slot) * rows_);
    HierarchicalConvolution op;
    op.width = config_.hidden_size;
    op.base_length = config_.long_conv_base_length;
    op.levels = config_.levels();
    op.a = data->Floats(rows_ * d);
    op.taps0 = data->Floats(base * d);
    op.taps = data->Floats(levels * base / 2 * d);
    op.skip = data->Floats(d);
    op.state = {data->Floats(copies * rows_ * slot), slot};
    op.c = data->Floats(rows_ * d);
    Add("long_convolution", absl::StrCat("B ", base, " S ", levels),
        rows_ * state + taps, copies, data, op,
        [](CaseData&, HierarchicalConvolution&, int64_t) {});
  }

  void Product(const char* name, int64_t outputs, int64_t inputs) {
    if (!Wanted(name)) return;
    auto data = NewData();
    const double bytes = MatrixBytes(outputs, inputs);
    const int64_t copies = CopiesPastCaches(bytes);
    data->AddMatrices(outputs, inputs, copies, &data->first);
    Linear op;
    op.x = data->Floats(rows_ * inputs);
    op.bias = data->Floats(outputs);
    op.out = data->Floats(rows_ * outputs);
    Add(name, Shape(outputs, inputs),
        bytes + kFloat * static_cast<double>(outputs), copies, data, op,
        [](CaseData& d, Linear& mine, int64_t copy) {
          mine.weight = d.first[copy].get();
        });
  }

  void Attention() {
    if (!Wanted("attention")) return;
    auto data = NewData();
    const int64_t z = config_.shared_dim;
    const int64_t v = config_.value_dim;
    const int64_t slot = int64_t{config_.num_heads} * config_.key_dim() *
                         config_.head_value_dim();
    const int64_t copies =
        CopiesPastCaches(kFloat * static_cast<double>(slot) * rows_);
    LinearAttention op;
    op.heads = config_.num_heads;
    op.key_dim = config_.key_dim();
    op.value_dim = config_.head_value_dim();
    op.feature_map = config_.feature_map;
    op.shared = {data->Floats(rows_ * z), z};
    op.value = {data->Floats(rows_ * v), v};
    op.reset = {data->Floats(rows_ * v), v};
    op.q_scale = data->Floats(z);
    op.q_bias = data->Floats(z);
    op.k_scale = data->Floats(z);
    op.k_bias = data->Floats(z);
    op.norm_weight = data->Floats(v);
    op.state = {data->Floats(copies * rows_ * slot), slot};
    op.out = data->Floats(rows_ * v);
    Add("attention",
        absl::StrCat(op.heads, " x ", op.key_dim, " x ", op.value_dim),
        2 * kFloat * static_cast<double>(slot) * rows_ +
            kFloat * static_cast<double>(4 * z + v),
        copies, data, op, [](CaseData&, LinearAttention&, int64_t) {});
  }

  void Output() {
    if (!Wanted("out_proj, gate")) return;
    auto data = NewData();
    const int64_t d = config_.hidden_size;
    const int64_t v = config_.value_dim;
    const double bytes = MatrixBytes(d, v);
    const int64_t copies = CopiesPastCaches(bytes);
    data->AddMatrices(d, v, copies, &data->first);
    GatedOutput op;
    op.x = data->Floats(rows_ * v);
    op.candidate = {data->Floats(rows_ * d), d};
    op.gate = {data->Floats(rows_ * d), d};
    op.residual = data->Floats(rows_ * d);
    op.out = data->Floats(rows_ * d);
    Add("out_proj, gate", Shape(d, v), bytes, copies, data, op,
        [](CaseData& on, GatedOutput& mine, int64_t copy) {
          mine.weight = on.first[copy].get();
        });
  }

  void FeedForwardHalf() {
    if (!Wanted("feed_forward")) return;
    auto data = NewData();
    const int64_t d = config_.hidden_size;
    const int64_t f = config_.intermediate_size;
    const double bytes = MatrixBytes(3 * f, d);
    const int64_t copies = CopiesPastCaches(bytes);
    data->AddMatrices(2 * f, d, copies, &data->first);
    data->AddMatrices(d, f, copies, &data->second);
    FeedForward op;
    op.kind = FeedForwardKind::kSwiglu;
    op.y = data->Floats(rows_ * d);
    op.norm = MakeNorm(*data);
    op.out = data->Floats(rows_ * d);
    Add("feed_forward", absl::StrCat("3 x ", f, " x ", d),
        bytes + kFloat * static_cast<double>(d), copies, data, op,
        [](CaseData& on, FeedForward& mine, int64_t copy) {
          mine.up = on.first[copy].get();
          mine.down = on.second[copy].get();
        });
  }

  void Head() {
    if (!Wanted("head")) return;
    auto data = NewData();
    const int64_t d = config_.hidden_size;
    const int64_t vocab = config_.vocab_size;
    const double bytes = MatrixBytes(vocab, d);
    const int64_t copies = CopiesPastCaches(bytes);
    data->AddMatrices(vocab, d, copies, &data->first);
    for (int32_t row = 0; row < rows_; ++row) data->row_ids.push_back(row);
    LogitsHead op;
    op.x = data->Floats(rows_ * d);
    op.norm = MakeNorm(*data);
    op.num_rows = rows_;
    op.logits = data->Floats(rows_ * vocab);
    Add("head", Shape(vocab, d), bytes + kFloat * static_cast<double>(d),
        copies, data, op, [](CaseData& on, LogitsHead& mine, int64_t copy) {
          mine.weight = on.first[copy].get();
          mine.rows = on.row_ids.data();
        });
  }

  Backend& backend_;
  const ModelConfig& config_;
  const int32_t rows_;
  const int64_t position_;
  const std::string_view only_;
  std::vector<KernelCase> cases_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<KernelCase>> MakeKernelCases(
    Backend& backend, const ModelConfig& config, int32_t rows, int64_t position,
    std::string_view only) {
  return CaseMaker(backend, config, rows, position, only).Make();
}

}  // namespace chela::bench
