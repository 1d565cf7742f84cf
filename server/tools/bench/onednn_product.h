#ifndef CHELA_SERVER_TOOLS_BENCH_ONEDNN_PRODUCT_H_
#define CHELA_SERVER_TOOLS_BENCH_ONEDNN_PRODUCT_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela::bench {

// The peer of our products: oneDNN's bf16 inner product, x [rows, inputs] times
// weights [outputs, inputs], float32 sums out, with the weights in the packed
// layout that oneDNN asks for. x is bf16 already and there is no bias, so the
// peer does a little less than Linear does.
//
// Threads: owned by one thread; oneDNN's OpenMP threads work inside Run.
class OneDnnProduct {
 public:
  // Built with CHELA_ONEDNN?
  static bool Available();
  // `copies` of the weights, random, in huge pages as ours are. UNIMPLEMENTED
  // without CHELA_ONEDNN, INTERNAL with oneDNN's own message.
  static absl::StatusOr<std::unique_ptr<OneDnnProduct>> Create(int64_t rows,
                                                               int64_t outputs,
                                                               int64_t inputs,
                                                               int64_t copies,
                                                               int32_t threads);
  ~OneDnnProduct();
  OneDnnProduct(const OneDnnProduct&) = delete;
  OneDnnProduct& operator=(const OneDnnProduct&) = delete;

  // With copy `call` mod copies.
  absl::Status Run(int64_t call);

 private:
  struct Impl;
  explicit OneDnnProduct(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_ONEDNN_PRODUCT_H_
