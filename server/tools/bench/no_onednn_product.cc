// OneDnnProduct where the build has no oneDNN.
#include "server/tools/bench/onednn_product.h"

namespace chela::bench {

struct OneDnnProduct::Impl {};

OneDnnProduct::~OneDnnProduct() = default;

bool OneDnnProduct::Available() { return false; }

absl::StatusOr<std::unique_ptr<OneDnnProduct>> OneDnnProduct::Create(
    int64_t, int64_t, int64_t, int64_t, int32_t) {
  return absl::UnimplementedError(
      "this build has no oneDNN; want one configured with -DCHELA_ONEDNN=ON");
}

absl::Status OneDnnProduct::Run(int64_t) {
  return absl::UnimplementedError("this build has no oneDNN");
}

}  // namespace chela::bench
