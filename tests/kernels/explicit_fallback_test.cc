// The explicit convolution on a GPU whose thread blocks may have less shared
// memory than its blocks of 1024 rows take.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/module_loader.h"
#include "tests/kernels/explicit_rig.h"

namespace chela {
namespace {

using Rig = ExplicitRig;
using ExplicitFallbackTest = ExplicitConvolutionTest;

// Compute capability 8.6 and 8.0.
constexpr int64_t kSmallDevices[] = {99 << 10, 163 << 10};

// While it lives, new kernels take the device for one with that much.
class SharedBytesLimit {
 public:
  explicit SharedBytesLimit(int64_t bytes) {
    void* module = nullptr;
    for (const std::string& folder : ModuleFolders("")) {
      if (module != nullptr) break;
      module = dlopen((folder + "/" + kCudaModuleFile).c_str(),
                      RTLD_NOW | RTLD_NOLOAD);
    }
    if (module == nullptr) return;
    limit_ = reinterpret_cast<void (*)(int64_t)>(
        dlsym(module, "chela_cuda_limit_shared_bytes"));
    if (limit_ != nullptr) limit_(bytes);
  }
  ~SharedBytesLimit() {
    if (limit_ != nullptr) limit_(INT64_MAX);
  }
  SharedBytesLimit(const SharedBytesLimit&) = delete;
  SharedBytesLimit& operator=(const SharedBytesLimit&) = delete;

  bool holds() const { return limit_ != nullptr; }

 private:
  void (*limit_)(int64_t) = nullptr;
};

std::vector<BackendCase> CudaBackends() {
  std::vector<BackendCase> out;
  for (const BackendCase& backend : EveryBackend()) {
    if (backend.options.kind == BackendKind::kCuda) out.push_back(backend);
  }
  return out;
}

TEST_P(ExplicitFallbackTest, ASmallerDeviceMatchesTheDefinition) {
  for (const auto& [length, width] : std::vector<std::pair<int64_t, int32_t>>{
           {2048, 40}, {3000, 33}, {16384, 4}}) {
    const auto kernel = RandomKernel(width, length);
    const auto tokens = static_cast<int32_t>(length + 2600);
    const auto a = RandomFloats(int64_t{tokens} * width, -1, 1, 3);
    const auto size_of_kernel = [&] {
      const auto made =
          backend().MakeExplicitKernel(kernel.kernel.data(), width, length);
      EXPECT_TRUE(made.ok()) << made.status();
      return made.ok() ? (*made)->size_bytes() : size_t{0};
    };
    const size_t with_blocks = size_of_kernel();
    const SampledOutputs sampled = SampleDefinition(kernel, a);
    int32_t layer = 0;
    for (const int64_t bytes : kSmallDevices) {
      const SharedBytesLimit limit(bytes);
      ASSERT_TRUE(limit.holds());
      EXPECT_LT(size_of_kernel(), with_blocks);
      for (const std::vector<int32_t>& sizes :
           std::vector<std::vector<int32_t>>{{tokens},
                                             {700, 1, 1, 2300, 333}}) {
        SCOPED_TRACE(::testing::Message()
                     << length << " x " << width << ", layer " << layer << ", "
                     << bytes << " bytes, " << ::testing::PrintToString(sizes));
        Rig rig(backend(), kernel, 1, layer);
        layer += 3;
        ExpectSampled(rig, a, sizes, sampled);
      }
    }
  }
}

TEST_P(ExplicitFallbackTest, AStateMeansTheSameToASmallerDevice) {
  const auto kernel = RandomKernel(40, 2500);
  const int32_t rest = 2000;
  for (const int32_t seen : {1500, 4096, 9001}) {
    SCOPED_TRACE(seen);
    const int32_t layer = seen % 7;
    const auto a = RandomFloats(int64_t{seen + rest} * kernel.width, -1, 1, 13);
    const auto first = RowsOf(a, kernel.width, 0, seen);
    const auto last = RowsOf(a, kernel.width, seen, rest);
    const Rows next({{.slot = 0, .rows = rest, .position = seen}});
    Rig large(backend(), kernel, 1, layer);
    const SharedBytesLimit limit(kSmallDevices[0]);
    ASSERT_TRUE(limit.holds());
    Rig small(backend(), kernel, 1, layer);
    large.RunSequence(0, first, {seen});
    small.RunSequence(0, first, {seen});
    const auto state = large.ReadSlot(0);
    EXPECT_LE(Difference(small.ReadSlot(0), state), 2 * kRelativeError);
    large.WriteSlot(0, small.ReadSlot(0));
    small.WriteSlot(0, state);
    EXPECT_LE(Difference(large.Step(next, last), small.Step(next, last)),
              2 * kRelativeError);
  }
}

CHELA_ON_BACKENDS(ExplicitFallbackTest, CudaBackends());

}  // namespace
}  // namespace chela
