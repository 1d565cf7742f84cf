#include "kernels/cuda/product_pair.h"

#include <cuda_runtime_api.h>

#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/cublas_peer.h"
#include "kernels/cuda/cuda_matrix.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/large_products.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_graph.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

constexpr int64_t kLeastCalls = 64;  // of a graph: long against its start

// `count` bf16 values of 1/128 to 1/32, either sign.
std::vector<uint16_t> RandomHalves(int64_t count) {
  std::mt19937 random(5);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    value = static_cast<uint16_t>((random() & 0x80ff) | 0x3c00);
  }
  return values;
}

class CudaProductPair final : public ProductPair {
 public:
  explicit CudaProductPair(const PairedProduct& product) : product_(product) {}
  ~CudaProductPair() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  absl::Status Init(int device);

  int64_t calls() const override { return calls_; }
  absl::Status RunOwn() override { return own_.Run(stream_); }
  absl::Status RunPeer() override { return peer_->Run(); }
  int32_t algorithms() const override { return peer_->algorithms(); }
  std::string peer() const override { return peer_->description(); }

 private:
  absl::Status Open(int device);
  absl::Status MakeWeights();
  absl::Status MakeOperands();
  WeightView Weight(int64_t call) const;
  FinishArguments End() const;
  absl::Status RecordOwn();
  absl::Status RecordChunk();
  absl::Status ChoosePeer();

  const PairedProduct product_;
  int64_t calls_ = 0;
  int32_t processors_ = 1;
  bool modern_ = false;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<LargeProducts> large_;
  WeightView first_;
  DeviceBuffer weights_;
  DeviceBuffer left_;     // rounded, [rows, stride]
  DeviceBuffer x_;        // as floats
  DeviceBuffer inputs_;   // of the end: candidate, gate, residual
  DeviceBuffer out_;      // [rows, outputs] floats
  DeviceBuffer rounded_;  // likewise
  DeviceBuffer count_;
  ProductGraph own_;
  std::unique_ptr<CublasPeer> peer_;
};

absl::Status Allocate(int64_t bytes, DeviceBuffer* buffer) {
  absl::StatusOr<DeviceBuffer> made =
      DeviceBuffer::Allocate(static_cast<size_t>(bytes));
  if (!made.ok()) return made.status();
  *buffer = *std::move(made);
  return absl::OkStatus();
}

absl::Status CudaProductPair::Open(int device) {
  cudaDeviceProp properties;
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), "open a device"));
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, device),
                                   "open a device"));
  modern_ = properties.major >= 9;
  processors_ = properties.multiProcessorCount;
  return CudaStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                    "open a device");
}

absl::Status CudaProductPair::MakeWeights() {
  const std::vector<uint16_t> values =
      RandomHalves(product_.outputs * product_.inputs);
  const MatrixPart part = {values.data(), DType::kBF16, product_.outputs};
  absl::StatusOr<std::unique_ptr<CudaMatrix>> matrix =
      CudaMatrix::Make({&part, 1}, product_.inputs, DType::kBF16);
  if (!matrix.ok()) return matrix.status();
  // The upload may still be under way, on another stream.
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaDeviceSynchronize(), "copy a weight"));
  first_ = (*matrix)->view();
  const size_t bytes = (*matrix)->size_bytes();
  CHELA_RETURN_IF_ERROR(
      Allocate(static_cast<int64_t>(bytes) * product_.copies, &weights_));
  for (int64_t copy = 0; copy < product_.copies; ++copy) {
    CHELA_RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(static_cast<char*>(weights_.data()) + copy * bytes,
                        first_.data, bytes, cudaMemcpyDeviceToDevice, stream_),
        "copy a weight"));
  }
  first_.data = weights_.data();
  return CudaStatus(cudaStreamSynchronize(stream_), "copy a weight");
}

WeightView CudaProductPair::Weight(int64_t call) const {
  WeightView weight = first_;
  const int64_t bytes =
      static_cast<int64_t>(weights_.size_bytes()) / product_.copies;
  weight.data = static_cast<const char*>(weights_.data()) +
                call % product_.copies * bytes;
  return weight;
}

absl::Status CudaProductPair::MakeOperands() {
  const int64_t rows = product_.rows;
  const int64_t results = rows * product_.outputs;
  const int64_t left = rows * first_.stride;
  CHELA_RETURN_IF_ERROR(Allocate(left * 2, &left_));
  CHELA_RETURN_IF_ERROR(Allocate(left * 4, &x_));
  CHELA_RETURN_IF_ERROR(Allocate(3 * results * 4, &inputs_));
  CHELA_RETURN_IF_ERROR(Allocate(results * 4, &out_));
  CHELA_RETURN_IF_ERROR(Allocate(results * 2, &rounded_));
  CHELA_RETURN_IF_ERROR(Allocate(sizeof(int32_t), &count_));
  const std::vector<uint16_t> values = RandomHalves(left);
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaMemcpy(left_.data(), values.data(), values.size() * 2,
                            cudaMemcpyHostToDevice),
                 "copy a left operand"));
  std::vector<float> x(values.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(values[i] & 0xff) / 256.0f - 0.5f;
  }
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaMemcpy(x_.data(), x.data(), x.size() * 4, cudaMemcpyHostToDevice),
      "copy a left operand"));
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaMemcpy(count_.data(), &product_.rows, sizeof(int32_t),
                            cudaMemcpyHostToDevice),
                 "copy a count"));
  return CudaStatus(cudaDeviceSynchronize(), "copy a left operand");
}

FinishArguments CudaProductPair::End() const {
  FinishArguments end;
  const int64_t results = product_.rows * product_.outputs;
  const float* const inputs = static_cast<const float*>(inputs_.data());
  end.out = static_cast<float*>(out_.data());
  end.out_stride = product_.outputs;
  switch (product_.end) {
    case PairedProduct::End::kStore:
      break;
    case PairedProduct::End::kGated:
      end.kind = Finish::kGated;
      end.candidate = inputs + results;
      end.gate = inputs + 2 * results;
      end.candidate_stride = product_.outputs;
      end.gate_stride = product_.outputs;
      end.residual = inputs;
      break;
    case PairedProduct::End::kSwiglu:
      end.kind = Finish::kSwiglu;
      end.out_stride = product_.outputs / 2;
      if (product_.rows > 1) end.rounded = rounded_.data();
      break;
    case PairedProduct::End::kResidual:
      end.kind = Finish::kResidual;
      end.residual = inputs;
      break;
  }
  return end;
}

absl::Status CudaProductPair::RecordOwn() {
  ProductLaunch launch;
  launch.max_rows = product_.rows;
  launch.processors = processors_;
  launch.overlap = modern_;
  launch.stream = stream_;
  launch.left = static_cast<uint16_t*>(left_.data());
  Product product;
  product.x = static_cast<const float*>(x_.data());
  product.x_stride = first_.stride;
  if (product_.rows > 1) product.rounded = left_.data();
  product.count = static_cast<const int32_t*>(count_.data());
  product.finish = End();
  return own_.Record(stream_, [&]() -> absl::Status {
    for (int64_t call = 0; call < calls_; ++call) {
      product.weight = Weight(call);
      CHELA_RETURN_IF_ERROR(CudaStatus(Launch(product, launch), "multiply"));
    }
    return absl::OkStatus();
  });
}

absl::Status CudaProductPair::RecordChunk() {
  absl::StatusOr<std::unique_ptr<LargeProducts>> large =
      LargeProducts::Create();
  if (!large.ok()) return large.status();
  large_ = *std::move(large);
  const FinishArguments end = End();
  float* const sums = static_cast<float*>(out_.data());
  const auto run = [&](int64_t calls) -> absl::Status {
    for (int64_t call = 0; call < calls; ++call) {
      const WeightView weight = Weight(call);
      const absl::StatusOr<std::optional<LargeProducts::Ends>> ends =
          large_->EndsOf(weight, end, /*first_row=*/0);
      if (!ends.ok()) return ends.status();
      if (ends->has_value()) {
        CHELA_RETURN_IF_ERROR(
            large_->Run(weight, left_.data(), product_.rows, **ends, stream_));
        continue;
      }
      CHELA_RETURN_IF_ERROR(large_->Run(weight, left_.data(), product_.rows,
                                        {.out = sums}, stream_));
      CHELA_RETURN_IF_ERROR(CudaStatus(
          LaunchFinish(weight, end, sums, 0, product_.rows, modern_, stream_),
          "finish a product"));
    }
    return absl::OkStatus();
  };
  CHELA_RETURN_IF_ERROR(run(1));  // chooses the algorithm
  return own_.Record(stream_, [&] { return run(calls_); });
}

absl::Status CudaProductPair::ChoosePeer() {
  std::vector<WeightView> weights;
  for (int64_t call = 0; call < calls_; ++call) weights.push_back(Weight(call));
  absl::StatusOr<std::unique_ptr<CublasPeer>> peer =
      CublasPeer::Choose(std::move(weights), left_.data(), product_.rows,
                         static_cast<float*>(out_.data()), stream_);
  if (!peer.ok()) return peer.status();
  peer_ = *std::move(peer);
  return absl::OkStatus();
}

absl::Status CudaProductPair::Init(int device) {
  calls_ =
      (kLeastCalls + product_.copies - 1) / product_.copies * product_.copies;
  CHELA_RETURN_IF_ERROR(Open(device));
  CHELA_RETURN_IF_ERROR(MakeWeights());
  CHELA_RETURN_IF_ERROR(MakeOperands());
  CHELA_RETURN_IF_ERROR(product_.chunk ? RecordChunk() : RecordOwn());
  return ChoosePeer();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProductPair>> MakeProductPair(
    const BackendOptions& options, const PairedProduct& product) {
  auto pair = std::make_unique<CudaProductPair>(product);
  CHELA_RETURN_IF_ERROR(pair->Init(options.device));
  return pair;
}

}  // namespace chela::cuda
