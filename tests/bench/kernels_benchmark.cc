// Every op of a layer of the named sizes, and oneDNN's bf16 product of the same
// shapes, with weights and states from memory. Bytes a second are those that
// the op must move.
//
//   kernels_benchmark --benchmark_filter=350m/8/
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "models/named_sizes.h"
#include "server/tools/bench/kernel_case_data.h"
#include "server/tools/bench/kernel_cases.h"
#include "server/tools/bench/onednn_product.h"
#include "server/tools/bench/product_bench.h"

namespace chela::bench {
namespace {

template <typename Step>
void Measure(benchmark::State& state, double bytes, const Step& step) {
  int64_t call = 0;
  for (auto _ : state) {
    const absl::Status status = step(call++);
    if (!status.ok()) {
      state.SkipWithError(status.ToString().c_str());
      break;
    }
  }
  state.SetBytesProcessed(
      static_cast<int64_t>(bytes * static_cast<double>(state.iterations())));
}

// What the benchmark of one name works on. Made when it first runs, since all
// of them together would not fit, and kept while the library calls it again
// with more iterations.
template <typename Subject, typename Make>
absl::StatusOr<Subject>& Held(const std::string& name, const Make& make) {
  static std::string held;
  static absl::StatusOr<Subject> subject;
  if (held != name) {
    subject = absl::UnknownError("");  // frees the one before
    subject = make();
    held = name;
  }
  return subject;
}

void RunOp(benchmark::State& state, const std::string& name, Backend& backend,
           const ModelConfig& config, int32_t rows, const std::string& op) {
  using Cases = std::vector<KernelCase>;
  const absl::StatusOr<Cases>& cases = Held<Cases>(
      name, [&] { return MakeKernelCases(backend, config, rows, 1024, op); });
  if (!cases.ok()) {
    return state.SkipWithError(cases.status().ToString().c_str());
  }
  Measure(state, cases->front().bytes, cases->front().run);
}

void RunPeer(benchmark::State& state, const std::string& name, int32_t threads,
             const ProductShape& shape, int32_t rows) {
  const double bytes = 2.0 * static_cast<double>(shape.outputs * shape.inputs);
  using Peer = std::unique_ptr<OneDnnProduct>;
  const absl::StatusOr<Peer>& peer = Held<Peer>(name, [&] {
    return OneDnnProduct::Create(rows, shape.outputs, shape.inputs,
                                 CopiesPastCaches(bytes), threads);
  });
  if (!peer.ok()) {
    return state.SkipWithError(peer.status().ToString().c_str());
  }
  Measure(state, bytes, [&](int64_t call) { return (*peer)->Run(call); });
}

void Register(Backend& backend, const std::string& size, int32_t rows) {
  const ModelConfig config =
      NamedSize(size, LongConvKind::kHierarchical).value();
  for (const char* op :
       {"short_convolution", "long_convolution", "projections", "value_proj",
        "attention", "out_proj, gate", "feed_forward", "head"}) {
    const std::string name = absl::StrCat(size, "/", rows, "/", op);
    benchmark::RegisterBenchmark(name.c_str(), [&backend, config, rows, name,
                                                op = std::string(op)](
                                                   benchmark::State& state) {
      RunOp(state, name, backend, config, rows, op);
    })->UseRealTime();
  }
  for (const ProductShape& shape : ProductShapes(config)) {
    const std::string name =
        absl::StrCat(size, "/", rows, "/oneDNN ", shape.name);
    benchmark::RegisterBenchmark(name.c_str(), [&backend, shape, rows,
                                                name](benchmark::State& state) {
      RunPeer(state, name, backend.Info().threads, shape, rows);
    })->UseRealTime();
  }
}

}  // namespace
}  // namespace chela::bench

int main(int argc, char** argv) {
  const auto backend = chela::MakeBackend({});
  if (!backend.ok()) {
    std::cerr << "kernels_benchmark: " << backend.status() << '\n';
    return EXIT_FAILURE;
  }
  for (const char* size : {"125m", "350m"}) {
    for (const int32_t rows : {1, 8, 32, 64}) {
      chela::bench::Register(**backend, size, rows);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  return EXIT_SUCCESS;
}
