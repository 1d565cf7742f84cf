#include "server/tools/bench/ceiling.h"

#include <chrono>
#include <utility>
#include <vector>

#include "server/tools/bench/read_ceiling.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

class CopyCeiling final : public Ceiling {
 public:
  static constexpr size_t kBytes = size_t{1} << 30;
  static constexpr int kCopies = 4;  // a pass: long against starting it

  CopyCeiling(Backend& backend, std::unique_ptr<Buffer> from,
              std::unique_ptr<Buffer> to)
      : backend_(backend), from_(std::move(from)), to_(std::move(to)) {}

  double Measure(double seconds) override {
    std::vector<double> rates;
    double total = 0;
    Pass();
    while (total < seconds || rates.size() < 3) {
      const auto start = std::chrono::steady_clock::now();
      if (!Pass()) return 0;
      const std::chrono::duration<double> elapsed =
          std::chrono::steady_clock::now() - start;
      total += elapsed.count();
      rates.push_back(2.0 * kCopies * kBytes / elapsed.count());
    }
    return Summarize(rates).median;
  }

 private:
  bool Pass() {
    for (int i = 0; i < kCopies; ++i) {
      if (!backend_.Copy(from_->data(), to_->data(), kBytes).ok()) return false;
    }
    float last = 0;
    return backend_.Download(to_->data(), &last, sizeof(last)).ok();
  }

  Backend& backend_;
  std::unique_ptr<Buffer> from_;
  std::unique_ptr<Buffer> to_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Ceiling>> MakeCeiling(Backend& backend) {
  const BackendInfo info = backend.Info();
  if (info.name == "cpu") {
    absl::StatusOr<std::unique_ptr<ReadCeiling>> ceiling =
        ReadCeiling::Create(info.threads);
    if (!ceiling.ok()) return ceiling.status();
    return *std::move(ceiling);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> from =
      backend.Allocate(CopyCeiling::kBytes);
  if (!from.ok()) return from.status();
  absl::StatusOr<std::unique_ptr<Buffer>> to =
      backend.Allocate(CopyCeiling::kBytes);
  if (!to.ok()) return to.status();
  return std::make_unique<CopyCeiling>(backend, *std::move(from),
                                       *std::move(to));
}

}  // namespace chela::bench
