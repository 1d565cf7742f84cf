#ifndef CHELA_TESTS_SERVER_ENGINE_RIG_H_
#define CHELA_TESTS_SERVER_ENGINE_RIG_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "models/chela_model.h"
#include "models/state_pool.h"
#include "models/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/score_stream.h"
#include "tests/server/engine_listener.h"
#include "tests/server/hooked_backend.h"
#include "tests/support/drawing_backend.h"

namespace chela::test_support {

using Tokens = std::vector<int32_t>;

// More tokens than any test waits for.
inline constexpr int32_t kEndless = 65536;

// CHELA_TEST_DEVICE=cuda: rigs are on a GPU, where the last bits of a text
// depend on the pieces that it is read in.
bool OnGpu();

// CHELA_TEST_DRAWS: the same tests on a backend that draws tokens.
bool DrawsByDefault();

struct RigOptions {
  int32_t slots = 4;
  EngineLimits limits = {};
  int32_t threads = 1;
  LongConvKind kind = LongConvKind::kHierarchical;
  int32_t attention_replay = 0;
  // Of about 34,000 bytes instead of 3,000: larger than a prompt's tokens.
  bool large_states = false;
  int32_t replicas = 1;                 // each with `slots`
  PrefixStore* prefix_store = nullptr;  // of the first
  bool draws = DrawsByDefault();        // whether the backend draws tokens
};

// A device with the tiny model on it.
struct RigDevice {
  std::unique_ptr<HookedBackend> backend;
  std::unique_ptr<ChelaModel> model;
  std::unique_ptr<StatePool> pool;
};

// A tiny random model, alone or served by an engine, on the CPU or, with
// CHELA_TEST_DEVICE=cuda, on a GPU.
class Rig {
 public:
  explicit Rig(const RigOptions& options = {}, bool start = true);
  ~Rig();

  // The answer that the model gives when it is driven by hand, one chunk or
  // token a step, without an engine (which must not have been started).
  std::vector<int32_t> GenerateByHand(const GenerateJob& job,
                                      uint32_t branch = 0);
  // Log-probabilities of `tokens` after `prefix`, which is read first, by hand.
  // Without a prefix the first token has none.
  std::vector<double> ScoreByHand(const std::vector<int32_t>& prefix,
                                  const std::vector<int32_t>& tokens);

  std::string Page() const { return metrics.Render(); }
  double Metric(const std::string& name, const std::string& labels = "") const;

  // The devices "rig:0", "rig:1" ... of an engine.
  std::vector<EngineDevice> Devices() const;

  std::unique_ptr<HookedBackend> backend;  // of the first device
  DrawingBackend* drawing = nullptr;       // inside it, if the rig added it
  std::unique_ptr<ChelaModel> model;
  std::unique_ptr<StatePool> pool;
  PrefixStore* const prefix_store;
  std::vector<RigDevice> others;
  std::unique_ptr<Tokenizer> tokenizer;
  Metrics metrics{"tiny"};
  std::atomic<int> faults{0};
  std::unique_ptr<Engine> engine;

 private:
  // Feeds tokens [position, end) of a sequence in its chunks; the logits of
  // the rows from `from` on.
  std::vector<float> Feed(const std::vector<int32_t>& tokens, int64_t position,
                          int64_t from);
};

// `size` pseudo-random byte tokens after BOS.
std::vector<int32_t> Prompt(int32_t size, uint32_t seed = 1);
// Such a prompt, EOS ignored, at temperature 1 with this seed.
GenerateJob Job(const Listener& listener, int32_t prompt, int32_t max_tokens,
                uint32_t seed = 1);
ScoreJob Job(const std::shared_ptr<ScoreStream>& stream);

// A score from Submit to its end; the text in pieces of `piece` tokens.
ScoreStream::End ScoreCandidates(Rig& rig, Tokens prefix,
                                 std::vector<Tokens> continuations);
ScoreStream::End ScorePieces(Rig& rig, const Tokens& text, size_t piece);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_ENGINE_RIG_H_
