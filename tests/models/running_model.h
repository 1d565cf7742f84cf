#ifndef CHELA_TESTS_MODELS_RUNNING_MODEL_H_
#define CHELA_TESTS_MODELS_RUNNING_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/chela_model.h"
#include "models/state_pool.h"

namespace chela {

// Whether models run on CUDA instead of the CPU: CHELA_TEST_DEVICE=cuda. Not in
// ctest, whose machines need no GPU; tests/gpu/run.sh sets it.
bool OnCuda();

// A checkpoint folder loaded on a backend, with a pool of states. Any failure
// to load or run ends the test run with its message.
class RunningModel {
 public:
  struct Options {
    int32_t max_rows = 64;
    int32_t slots = 4;
    int32_t threads = 2;
    CpuKernels max_kernels = CpuKernels::kAvx512Bf16;
    int32_t attention_replay = 0;
  };
  explicit RunningModel(const std::string& directory)
      : RunningModel(directory, Options()) {}
  RunningModel(const std::string& directory, const Options& options);

  ChelaModel& model() { return *model_; }
  StatePool& pool() { return *pool_; }
  Backend& backend() { return *backend_; }
  const ModelConfig& config() const { return model_->config(); }
  StatePool::Slot Acquire();

  // Feeds tokens[first .. first + rows) as one segment, and gives their logits
  // [rows][vocab]. The sequence's earlier tokens must have been fed to `slot`.
  std::vector<std::vector<float>> Feed(const StatePool::Slot& slot,
                                       const std::vector<int32_t>& tokens,
                                       int64_t first, int32_t rows);
  // The logits of a whole sequence fed in steps of `step` tokens.
  std::vector<std::vector<float>> Run(const StatePool::Slot& slot,
                                      const std::vector<int32_t>& tokens,
                                      int32_t step);
  // One Forward: every row's logits, in the order of the plan's rows.
  std::vector<std::vector<float>> Step(StepPlan plan);

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ChelaModel> model_;
  std::unique_ptr<StatePool> pool_;
};

// `count` token ids below vocab, by a seeded generator.
std::vector<int32_t> RandomTokens(int64_t count, int32_t vocab, uint64_t seed);

// |got - want| / |want| of one row.
template <typename Want>
double RelativeL2(const std::vector<float>& got, const std::vector<Want>& want);
extern template double RelativeL2(const std::vector<float>&,
                                  const std::vector<double>&);
extern template double RelativeL2(const std::vector<float>&,
                                  const std::vector<float>&);

}  // namespace chela

#endif  // CHELA_TESTS_MODELS_RUNNING_MODEL_H_
