#include "models/random_tensors.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/tensor_values.h"

namespace chela {
namespace {

// A thread is started for so many values at least (about 1 ms of work).
constexpr int64_t kThreadElements = int64_t{1} << 18;

uint64_t SplitMix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t NameSeed(const std::string& name, uint64_t seed) {
  uint64_t mixed = seed;
  for (const char c : name) {
    mixed = SplitMix(mixed + static_cast<unsigned char>(c) + 1);
  }
  return mixed;
}

std::vector<float> Decays(int64_t heads) {
  std::vector<float> decays(static_cast<size_t>(heads), 1.0f);
  for (size_t h = 0; h + 1 < decays.size(); ++h) {
    decays[h] =
        static_cast<float>(1 - std::exp2(-5 - 2 * static_cast<double>(h)));
  }
  return decays;
}

}  // namespace

void RandomTensors::Uniform(const TensorSpec& spec, double variance,
                            float* values) const {
  // Uniform on [-a, a) has variance a^2 / 3; the draw is a 32-bit integer.
  const float scale = static_cast<float>(std::sqrt(3 * variance) * 0x1p-31);
  const uint64_t start = NameSeed(spec.name, seed_);
  const auto fill = [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const uint64_t bits =
          SplitMix(start + static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15);
      values[i] = static_cast<float>(static_cast<int32_t>(bits >> 32)) * scale;
    }
  };
  const int64_t count = spec.elements();
  const int64_t parts =
      std::clamp<int64_t>(count / kThreadElements, 1,
                          std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> threads;
  for (int64_t part = 1; part < parts; ++part) {
    threads.emplace_back(fill, count * part / parts,
                         count * (part + 1) / parts);
  }
  fill(0, count / parts);
  for (std::thread& thread : threads) thread.join();
}

absl::StatusOr<std::vector<float>> RandomTensors::Vector(
    const TensorSpec& spec) {
  if (spec.decay) return Decays(spec.shape[0]);
  if (spec.shape.size() > 1) {
    std::vector<float> values(static_cast<size_t>(spec.elements()));
    Uniform(spec, 1.0 / static_cast<double>(spec.shape.back()), values.data());
    return values;
  }
  const bool zero = absl::EndsWith(spec.name, "bias");
  return std::vector<float>(static_cast<size_t>(spec.elements()),
                            zero ? 0.0f : 1.0f);
}

absl::StatusOr<HostMatrix> RandomTensors::Matrix(const TensorSpec& spec) {
  HostMatrix matrix;
  matrix.storage = std::make_unique_for_overwrite<float[]>(
      static_cast<size_t>(spec.elements()));
  Uniform(spec, 1.0 / static_cast<double>(spec.shape[1]), matrix.storage.get());
  matrix.part = {matrix.storage.get(), DType::kF32, spec.shape[0]};
  return matrix;
}

std::string RandomTensors::Fingerprint(const ModelConfig& config) const {
  ContentHash hash;
  hash.Add(config.ToJson());
  hash.Add(absl::StrCat("random ", seed_));
  return hash.Digits();
}

}  // namespace chela
