#ifndef CHELA_TESTS_SERVER_ENGINE_LISTENER_H_
#define CHELA_TESTS_SERVER_ENGINE_LISTENER_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/score_stream.h"
#include "server/engine/token_stream.h"
#include "tests/server/hooked_backend.h"

namespace chela::test_support {

// Holds the engine inside a step, so that a test decides what it finds next.
class StepGate {
 public:
  explicit StepGate(HookedBackend& backend);  // closed
  ~StepGate() { Open(); }
  void WaitUntilHeld();  // until a step stands before the gate
  void Open();           // for good

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    bool held = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// The segments of every step from now on.
class Recorder {
 public:
  explicit Recorder(HookedBackend& backend);
  std::vector<std::vector<Segment>> steps() const;
  int64_t rows() const;  // of all steps together

 private:
  struct State {
    std::mutex mutex;
    std::vector<std::vector<Segment>> steps;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// A generation as its client sees it.
class Listener {
 public:
  Listener();
  const std::shared_ptr<TokenStream>& stream() const { return stream_; }
  // Blocks until at least `tokens` tokens arrived, or the end.
  void WaitForTokens(size_t tokens);
  // Blocks until the end.
  GenerationEnd Wait();
  std::string text() const;
  std::vector<int32_t> tokens() const;
  std::vector<SampledToken> sampled() const;
  bool ended() const;

 private:
  // Shared with the callback.
  struct State {
    mutable std::mutex mutex;
    std::condition_variable changed;
    std::string text;
    std::vector<SampledToken> tokens;
    std::optional<GenerationEnd> end;
  };
  std::shared_ptr<TokenStream> stream_ = std::make_shared<TokenStream>();
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Waits until a score ends.
ScoreStream::End WaitFor(const ScoreStream& stream);
// Waits until `condition` holds; fails the test after some seconds.
bool Eventually(const std::function<bool()>& condition);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_ENGINE_LISTENER_H_
