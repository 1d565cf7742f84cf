#include "tests/server/engine_listener.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "server/engine/request.h"

namespace chela::test_support {
namespace {

constexpr std::chrono::seconds kPatience(30);  // sanitizers are slow

}  // namespace

StepGate::StepGate(HookedBackend& backend) {
  backend.SetHook([state = state_](const StepRows&) {
    std::unique_lock lock(state->mutex);
    state->held = true;
    state->changed.notify_all();
    state->changed.wait(lock, [&] { return state->open; });
    return absl::OkStatus();
  });
}

void StepGate::WaitUntilHeld() {
  std::unique_lock lock(state_->mutex);
  EXPECT_TRUE(state_->changed.wait_for(lock, kPatience,
                                       [this] { return state_->held; }));
}

void StepGate::Open() {
  const std::lock_guard lock(state_->mutex);
  state_->open = true;
  state_->changed.notify_all();
}

Recorder::Recorder(HookedBackend& backend) {
  backend.SetHook([state = state_](const StepRows& rows) {
    const std::lock_guard lock(state->mutex);
    state->steps.emplace_back(rows.segments.begin(), rows.segments.end());
    return absl::OkStatus();
  });
}

std::vector<std::vector<Segment>> Recorder::steps() const {
  const std::lock_guard lock(state_->mutex);
  return state_->steps;
}

int64_t Recorder::rows() const {
  int64_t rows = 0;
  for (const std::vector<Segment>& step : steps()) {
    for (const Segment& segment : step) rows += segment.rows;
  }
  return rows;
}

Listener::Listener() {
  stream_->SetCallback([state = state_, stream = stream_.get()] {
    GenerationDelta delta = stream->Pop();
    std::optional<GenerationEnd> end = stream->End();
    const std::lock_guard lock(state->mutex);
    EXPECT_FALSE(state->end.has_value()) << "a delta or an end after the end";
    state->text += delta.text;
    for (SampledToken& token : delta.tokens) {
      state->tokens.push_back(std::move(token));
    }
    state->end = std::move(end);
    state->changed.notify_all();
  });
}

void Listener::WaitForTokens(size_t tokens) {
  std::unique_lock lock(state_->mutex);
  EXPECT_TRUE(state_->changed.wait_for(lock, kPatience, [&] {
    return state_->tokens.size() >= tokens || state_->end.has_value();
  }));
}

GenerationEnd Listener::Wait() {
  std::unique_lock lock(state_->mutex);
  const bool ended = state_->changed.wait_for(
      lock, kPatience, [this] { return state_->end.has_value(); });
  EXPECT_TRUE(ended);
  return ended ? *state_->end : GenerationEnd();
}

std::string Listener::text() const {
  const std::lock_guard lock(state_->mutex);
  return state_->text;
}

std::vector<SampledToken> Listener::sampled() const {
  const std::lock_guard lock(state_->mutex);
  return state_->tokens;
}

std::vector<int32_t> Listener::tokens() const {
  std::vector<int32_t> ids;
  for (const SampledToken& token : sampled()) ids.push_back(token.token);
  return ids;
}

bool Listener::ended() const {
  const std::lock_guard lock(state_->mutex);
  return state_->end.has_value();
}

bool Eventually(const std::function<bool()>& condition) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

ScoreStream::End WaitFor(const ScoreStream& stream) {
  EXPECT_TRUE(Eventually([&] { return stream.Result().has_value(); }));
  return stream.Result().value_or(ScoreStream::End());
}

}  // namespace chela::test_support
