#include "server/tools/bench/onednn_product.h"

#include <omp.h>

#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/aligned_memory.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace chela::bench {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

absl::Status FromError(const dnnl::error& error) {
  return absl::InternalError(absl::StrCat("oneDNN: ", error.what()));
}

// Finite bf16 values of 1/128 to 1/32, either sign.
void Fill(std::mt19937& random, uint16_t* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<uint16_t>((random() & 0x80ff) | 0x3c00);
  }
}

}  // namespace

struct OneDnnProduct::Impl {
  Impl(int64_t rows, int64_t outputs, int64_t inputs, int64_t copies)
      : engine(dnnl::engine::kind::cpu, 0),
        stream(engine),
        description(
            {dnnl::prop_kind::forward_inference,
             dnnl::memory::desc({rows, inputs}, Type::bf16, Tag::ab),
             dnnl::memory::desc({outputs, inputs}, Type::bf16, Tag::any),
             dnnl::memory::desc({rows, outputs}, Type::f32, Tag::ab)},
            engine),
        primitive(description),
        x(description.src_desc(), engine),
        out(description.dst_desc(), engine) {
    std::mt19937 random(6);
    Fill(random, static_cast<uint16_t*>(x.get_data_handle()), rows * inputs);
    dnnl::memory plain({{outputs, inputs}, Type::bf16, Tag::ab}, engine);
    Fill(random, static_cast<uint16_t*>(plain.get_data_handle()),
         outputs * inputs);
    for (int64_t copy = 0; copy < copies; ++copy) {
      memory.push_back(slabs.Cut(description.weights_desc().get_size()));
      dnnl::memory packed(description.weights_desc(), engine,
                          memory.back().data());
      dnnl::reorder(plain, packed).execute(stream, plain, packed);
      arguments.push_back(
          {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, out}});
    }
    stream.wait();
  }

  dnnl::engine engine;
  dnnl::stream stream;
  dnnl::inner_product_forward::primitive_desc description;
  dnnl::inner_product_forward primitive;
  dnnl::memory x;
  dnnl::memory out;
  MemorySlabs slabs;
  std::vector<AlignedMemory> memory;
  std::vector<std::unordered_map<int, dnnl::memory>> arguments;
};

OneDnnProduct::OneDnnProduct(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
OneDnnProduct::~OneDnnProduct() = default;

bool OneDnnProduct::Available() { return true; }

absl::StatusOr<std::unique_ptr<OneDnnProduct>> OneDnnProduct::Create(
    int64_t rows, int64_t outputs, int64_t inputs, int64_t copies,
    int32_t threads) {
  omp_set_num_threads(threads);
  // oneDNN's C++ interface throws; nothing of it leaves this file.
  try {
    return std::unique_ptr<OneDnnProduct>(new OneDnnProduct(
        std::make_unique<Impl>(rows, outputs, inputs, copies)));
  } catch (const dnnl::error& error) {
    return FromError(error);
  }
}

absl::Status OneDnnProduct::Run(int64_t call) {
  try {
    impl_->primitive.execute(impl_->stream,
                             impl_->arguments[call % impl_->arguments.size()]);
    impl_->stream.wait();
  } catch (const dnnl::error& error) {
    return FromError(error);
  }
  return absl::OkStatus();
}

}  // namespace chela::bench
