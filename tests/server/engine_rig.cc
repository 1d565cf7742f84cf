#include "tests/server/engine_rig.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <utility>

#include "tests/server/metrics_page.h"
#include "tests/support/tiny_model.h"

namespace chela::test_support {
namespace {

ModelConfig ConfigOf(const RigOptions& options) {
  ModelConfig config = TinyConfig();
  if (options.kind == LongConvKind::kExplicit) {
    config.long_conv_kind = LongConvKind::kExplicit;
    config.long_conv_base_length = 0;
  }
  if (options.large_states) {
    config.shared_dim = 64;
    config.value_dim = 128;
  }
  return config;
}

const TinyModel& Checkpoint(const RigOptions& options) {
  static std::map<std::pair<LongConvKind, bool>, std::unique_ptr<TinyModel>>
      made;
  std::unique_ptr<TinyModel>& one = made[{options.kind, options.large_states}];
  if (one == nullptr) one = std::make_unique<TinyModel>(ConfigOf(options));
  return *one;
}

// Device `index` of a rig: the CPU, or with CHELA_TEST_DEVICE=cuda one of
// CHELA_TEST_GPUS GPUs, in turn. ctest's machines need none; tests/gpu/run.sh
// sets it.
BackendOptions DeviceOptions(int32_t threads, int32_t index) {
  BackendOptions options;
  options.threads = threads;
  if (!OnGpu()) return options;
  const char* gpus = std::getenv("CHELA_TEST_GPUS");
  options.kind = BackendKind::kCuda;
  options.device = index % (gpus == nullptr ? 1 : std::atoi(gpus));
  return options;
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    ADD_FAILURE() << value.status();
    std::abort();
  }
  return *std::move(value);
}

}  // namespace

bool OnGpu() {
  const char* const kind = std::getenv("CHELA_TEST_DEVICE");
  return kind != nullptr && std::string(kind) == "cuda";
}

bool DrawsByDefault() { return std::getenv("CHELA_TEST_DRAWS") != nullptr; }

Rig::Rig(const RigOptions& options, bool start)
    : prefix_store(options.prefix_store) {
  const std::string& directory = Checkpoint(options).directory();
  const auto make = [&](int32_t index) {
    RigDevice device;
    std::unique_ptr<Backend> made =
        Must(MakeBackend(DeviceOptions(options.threads, index)));
    if (options.draws && !made->draws_tokens()) {
      auto with_draws = std::make_unique<DrawingBackend>(std::move(made));
      if (index == 0) drawing = with_draws.get();
      made = std::move(with_draws);
    }
    device.backend = std::make_unique<HookedBackend>(std::move(made));
    auto weights = Must(Weights::Load(*device.backend, directory, std::nullopt,
                                      options.attention_replay));
    device.model = Must(ChelaModel::Create(*device.backend, std::move(weights),
                                           options.limits.max_batch_tokens));
    // By hand a text goes on in the slot that was just given back.
    device.pool = Must(StatePool::Create(*device.backend,
                                         device.model->config(), options.slots,
                                         /*poison_free_slots=*/start));
    return device;
  };
  RigDevice first = make(0);
  backend = std::move(first.backend);
  model = std::move(first.model);
  pool = std::move(first.pool);
  for (int32_t i = 1; i < options.replicas; ++i) others.push_back(make(i));
  tokenizer = Must(Tokenizer::Load(directory, model->config()));
  if (!start) return;
  engine =
      Engine::Start(options.limits, Devices(), *tokenizer, metrics,
                    [this](const absl::Status& status) {
                      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
                      ++faults;
                    });
}

std::vector<EngineDevice> Rig::Devices() const {
  std::vector<EngineDevice> devices = {{"rig:0", *model, *pool, prefix_store}};
  for (size_t i = 0; i < others.size(); ++i) {
    devices.push_back({"rig:" + std::to_string(i + 1), *others[i].model,
                       *others[i].pool, nullptr});
  }
  return devices;
}

Rig::~Rig() {
  if (engine != nullptr) engine->Stop();
}

std::vector<float> Rig::Feed(const std::vector<int32_t>& tokens,
                             int64_t position, int64_t from) {
  const StatePool::Slot slot = Must(pool->Acquire());
  const size_t vocab = model->config().vocab_size;
  const int64_t size = static_cast<int64_t>(tokens.size());
  std::vector<float> logits;
  while (position < size) {
    const int64_t end =
        std::min(size, (position / kChunkTokens + 1) * kChunkTokens);
    StepPlan plan;
    plan.tokens.assign(tokens.begin() + position, tokens.begin() + end);
    plan.segments = {
        {slot.id(), 0, static_cast<int32_t>(end - position), position}};
    for (int64_t row = std::max(from, position); row < end; ++row) {
      plan.logits_rows.push_back(static_cast<int32_t>(row - position));
    }
    std::vector<float> rows(plan.logits_rows.size() * vocab);
    EXPECT_TRUE(model->Forward(plan, *pool, rows).ok());
    logits.insert(logits.end(), rows.begin(), rows.end());
    position = end;
  }
  return logits;
}

std::vector<int32_t> Rig::GenerateByHand(const GenerateJob& job,
                                         uint32_t branch) {
  // One slot: what Feed acquires is the same state every time.
  EXPECT_EQ(pool->num_slots(), 1);
  Sampler sampler(job.sampling, branch);
  sampler.AddPrompt(job.prompt);
  std::vector<int32_t> tokens = job.prompt;
  std::vector<int32_t> generated;
  int64_t position = 0;
  for (int32_t i = 0; i < job.max_tokens; ++i) {
    const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
    const std::vector<float> logits = Feed(tokens, position, last);
    position = last + 1;
    generated.push_back(sampler.Sample(logits, i).token);
    sampler.AddGenerated(generated.back());
    tokens.push_back(generated.back());
  }
  return generated;
}

std::vector<double> Rig::ScoreByHand(const std::vector<int32_t>& prefix,
                                     const std::vector<int32_t>& tokens) {
  EXPECT_EQ(pool->num_slots(), 1);
  const size_t vocab = model->config().vocab_size;
  const int64_t size = static_cast<int64_t>(prefix.size());
  std::vector<float> logits = Feed(prefix, 0, size - 1);
  std::vector<int32_t> all = prefix;
  all.insert(all.end(), tokens.begin(), tokens.end() - 1);
  const std::vector<float> more = Feed(all, size, size);
  logits.insert(logits.end(), more.begin(), more.end());
  std::vector<double> scores;
  for (size_t i = prefix.empty() ? 1 : 0; i < tokens.size(); ++i) {
    const size_t row = prefix.empty() ? i - 1 : i;
    scores.push_back(LogProbability(
        std::span(logits).subspan(row * vocab, vocab), tokens[i]));
  }
  return scores;
}

double Rig::Metric(const std::string& name, const std::string& labels) const {
  return ValueOf(Page(), name + "{model=\"tiny\"" + labels + "}");
}

std::vector<int32_t> Prompt(int32_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens = {256};
  for (int32_t i = 1; i < size; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % 256));
  }
  return tokens;
}

GenerateJob Job(const Listener& listener, int32_t prompt, int32_t max_tokens,
                uint32_t seed) {
  GenerateJob job;
  job.header.id = "test";
  job.prompt = Prompt(prompt, seed);
  job.max_tokens = max_tokens;
  job.sampling.seed = seed;
  job.ignore_eos = true;
  job.stream = listener.stream();
  return job;
}

ScoreJob Job(const std::shared_ptr<ScoreStream>& stream) {
  ScoreJob job;
  job.header.id = "score";
  job.stream = stream;
  return job;
}

ScoreStream::End ScoreCandidates(Rig& rig, Tokens prefix,
                                 std::vector<Tokens> continuations) {
  const auto stream = std::make_shared<ScoreStream>(std::move(prefix),
                                                    std::move(continuations));
  EXPECT_TRUE(rig.engine->Submit(Job(stream)).ok());
  return WaitFor(*stream);
}

ScoreStream::End ScorePieces(Rig& rig, const Tokens& text, size_t piece) {
  const auto stream = std::make_shared<ScoreStream>();
  EXPECT_TRUE(rig.engine->Submit(Job(stream)).ok());
  for (size_t at = 0; at < text.size(); at += piece) {
    const size_t end = std::min(text.size(), at + piece);
    stream->Append({text.begin() + at, text.begin() + end});
  }
  stream->Finish();
  return WaitFor(*stream);
}

}  // namespace chela::test_support
