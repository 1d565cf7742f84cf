// long_run_driver MODEL TOKENS FOLDER ROWS POSITION...: one long text through a
// model, for tests in other languages. TOKENS is a file of little-endian int32
// ids. At each POSITION, ascending multiples of 256, FOLDER gets
//   POSITION.logits  float32 [ROWS][vocab], of the last ROWS tokens before it
//   POSITION.state   float32, the slot's, laid out as standard output says:
// one line of three numbers, the offsets within a layer of the attention state
// and of the long convolution's, and the floats of a layer.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/models/running_model.h"

namespace chela {
namespace {

constexpr int32_t kChunk = 256;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "long_run_driver: %s\n", what.c_str());
  std::exit(1);
}

void Write(const std::string& path, std::span<const float> values) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) Fail(path);
  const size_t written =
      std::fwrite(values.data(), sizeof(float), values.size(), file);
  if (written != values.size() || std::fclose(file) != 0) Fail(path);
}

std::vector<int32_t> ReadTokens(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) Fail(path);
  std::vector<int32_t> tokens;
  int32_t token = 0;
  while (std::fread(&token, sizeof(token), 1, file) == 1) {
    tokens.push_back(token);
  }
  std::fclose(file);
  return tokens;
}

class LongRun {
 public:
  LongRun(const std::string& model, std::vector<int32_t> tokens)
      : running_(model, {.max_rows = kChunk, .slots = 1}),
        tokens_(std::move(tokens)),
        slot_(running_.Acquire()) {
    const StateLayout& layout = running_.pool().layout();
    std::printf("%lld %lld %lld\n", static_cast<long long>(layout.attention),
                static_cast<long long>(layout.long_conv),
                static_cast<long long>(layout.layer_floats));
  }

  // Feeds up to `end`; the logits of the last `rows` tokens.
  std::vector<float> FeedTo(int64_t end, int64_t rows) {
    std::vector<float> kept;
    while (position_ < end) {
      const int64_t first_kept = std::max(end - rows - position_, int64_t{0});
      const std::vector<float> logits = Feed(first_kept);
      kept.insert(kept.end(), logits.begin(), logits.end());
    }
    return kept;
  }

  std::vector<float> State() {
    std::vector<float> state(
        static_cast<size_t>(running_.pool().layout().slot_floats));
    const absl::Status saved =
        running_.pool().Save(slot_, std::as_writable_bytes(std::span(state)));
    if (!saved.ok()) Fail(saved.ToString());
    return state;
  }

 private:
  // One chunk; the logits of its rows from `first_kept` on.
  std::vector<float> Feed(int64_t first_kept) {
    StepPlan plan;
    plan.segments = {{.slot = slot_.id(),
                      .first_row = 0,
                      .rows = kChunk,
                      .position = position_}};
    plan.tokens.assign(tokens_.begin() + position_,
                       tokens_.begin() + position_ + kChunk);
    for (int64_t row = first_kept; row < kChunk; ++row) {
      plan.logits_rows.push_back(static_cast<int32_t>(row));
    }
    std::vector<float> logits(
        plan.logits_rows.size() *
        static_cast<size_t>(running_.config().vocab_size));
    const absl::Status status =
        running_.model().Forward(plan, running_.pool(), logits);
    if (!status.ok()) Fail(status.ToString());
    position_ += kChunk;
    return logits;
  }

  RunningModel running_;
  const std::vector<int32_t> tokens_;
  const StatePool::Slot slot_;
  int64_t position_ = 0;
};

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() < 6) return 2;
  std::vector<int32_t> tokens = ReadTokens(arguments[2]);
  const auto size = static_cast<int64_t>(tokens.size());
  const int64_t rows = std::atoll(arguments[4].c_str());
  LongRun run(arguments[1], std::move(tokens));
  int64_t before = 0;
  for (size_t i = 5; i < arguments.size(); ++i) {
    const int64_t position = std::atoll(arguments[i].c_str());
    if (position % kChunk != 0 || position <= before || position > size ||
        rows < 1 || rows > position - before) {
      Fail("position " + arguments[i] +
           "; want ascending multiples of 256 within the tokens, more than "
           "ROWS apart");
    }
    before = position;
    Write(arguments[3] + "/" + arguments[i] + ".logits",
          run.FeedTo(position, rows));
    Write(arguments[3] + "/" + arguments[i] + ".state", run.State());
  }
  return 0;
}

}  // namespace
}  // namespace chela

int main(int argc, char** argv) {
  return chela::Main(std::vector<std::string>(argv, argv + argc));
}
