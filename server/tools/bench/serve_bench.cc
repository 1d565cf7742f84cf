#include "server/tools/bench/serve_bench.h"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/load_call.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

using nlohmann::json;
using Clock = LoadCall::Clock;

Clock::duration ToClock(std::chrono::duration<double> seconds) {
  return std::chrono::duration_cast<Clock::duration>(seconds);
}

// What the server said of its model.
struct Target {
  json info;
  int32_t vocab_size = 0;
  int32_t bos = -1;  // -1: prompts begin without one
};

absl::StatusOr<Target> Ask(v1::GenerationService::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(10));
  v1::GetModelInfoResponse info;
  const grpc::Status status =
      stub.GetModelInfo(&context, v1::GetModelInfoRequest(), &info);
  if (!status.ok()) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        absl::StrCat("--target: ", status.error_message()));
  }
  const json config = json::parse(info.config_json(), nullptr, false);
  if (!config.is_object() || !config.value("vocab_size", json()).is_number()) {
    return absl::InternalError("the server's config_json has no vocab_size");
  }
  Target target;
  target.info = {{"name", info.model()},
                 {"parameters", info.parameters()},
                 {"device", info.device()},
                 {"server_version", info.server_version()}};
  target.vocab_size = config["vocab_size"];
  if (config.value("add_bos_token", false)) {
    target.bos = config.value("bos_token_id", 0);
  }
  return target;
}

// Sends the requests and keeps what came back. Start and Wait are called by
// one thread; calls end on threads of gRPC.
class Load {
 public:
  Load(const ServeBenchOptions& options, const Target& target,
       v1::GenerationService::Stub& stub)
      : options_(options),
        target_(target),
        stub_(stub),
        random_(options.seed) {}

  void Run() {
    start_ = Clock::now();
    if (options_.rate > 0) {
      RunOpenLoop();
    } else {
      for (int32_t i = 0; i < options_.concurrency; ++i) Send(Clock::now());
    }
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
  }

  json Report() const;

 private:
  // With the lock held.
  bool MoreToSend(Clock::time_point now) const {
    return options_.requests > 0 ? sent_ < options_.requests
                                 : now < start_ + ToClock(options_.duration);
  }

  void RunOpenLoop() {
    std::mt19937_64 arrivals(options_.seed ^ 0x9e3779b97f4a7c15);
    std::exponential_distribution<double> gap(options_.rate);
    auto due = start_;
    while (Send(due)) {
      due += ToClock(std::chrono::duration<double>(gap(arrivals)));
      std::this_thread::sleep_until(due);
    }
  }

  v1::GenerateStreamRequest MakeRequest(int64_t index) {
    v1::GenerateStreamRequest out;
    v1::GenerateRequest& request = *out.mutable_request();
    v1::TokenIds& ids = *request.mutable_prompt_tokens();
    if (target_.bos >= 0) ids.add_ids(target_.bos);
    std::uniform_int_distribution<int32_t> token(0, target_.vocab_size - 1);
    while (ids.ids_size() < options_.prompt_tokens) ids.add_ids(token(random_));
    v1::SamplingParams& sampling = *request.mutable_sampling();
    sampling.set_max_tokens(options_.max_tokens);
    sampling.set_temperature(options_.temperature);
    sampling.set_seed(options_.seed + static_cast<uint64_t>(index));
    sampling.set_ignore_eos(true);
    return out;
  }

  // False once everything was sent.
  bool Send(Clock::time_point due) {
    v1::GenerateStreamRequest request;
    {
      std::lock_guard lock(mutex_);
      if (!MoreToSend(due)) return false;
      request = MakeRequest(sent_);
      ++sent_;
      ++running_;
    }
    LoadCall::Start(stub_, request, due, ToClock(options_.timeout),
                    [this](CallResult result) { Ended(std::move(result)); });
    return true;
  }

  void Ended(CallResult result) {
    {
      std::lock_guard lock(mutex_);
      end_ = Clock::now();
      results_.push_back(std::move(result));
    }
    // Before this call is counted as ended, so that Run never sees a moment
    // without calls in between.
    if (options_.rate <= 0) Send(Clock::now());
    std::lock_guard lock(mutex_);
    if (--running_ == 0) idle_.notify_all();
  }

  const ServeBenchOptions& options_;
  const Target& target_;
  v1::GenerationService::Stub& stub_;
  Clock::time_point start_;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::mt19937_64 random_;
  int64_t sent_ = 0;
  int64_t running_ = 0;
  Clock::time_point end_;
  std::vector<CallResult> results_;
};

std::string CodeName(const CallResult& result) {
  if (result.status.ok()) return "INCOMPLETE";
  return absl::StatusCodeToString(
      static_cast<absl::StatusCode>(result.status.error_code()));
}

json Percentiles(const std::vector<double>& samples) {
  return {{"p50", Percentile(samples, 0.5)},
          {"p90", Percentile(samples, 0.9)},
          {"p99", Percentile(samples, 0.99)}};
}

json Load::Report() const {
  std::vector<double> first;
  std::vector<double> gaps;
  std::vector<double> whole;
  std::map<std::string, int64_t> errors;
  int64_t failed = 0;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  for (const CallResult& result : results_) {
    generated_tokens += result.generated_tokens;
    if (!result.status.ok() || !result.finished) {
      ++failed;
      ++errors[CodeName(result)];
      continue;
    }
    prompt_tokens += result.prompt_tokens;
    first.push_back(result.time_to_first_token_seconds);
    whole.push_back(result.end_to_end_seconds);
    gaps.insert(gaps.end(), result.inter_token_seconds.begin(),
                result.inter_token_seconds.end());
  }
  const double seconds = std::chrono::duration<double>(end_ - start_).count();
  return {
      {"requests", results_.size()},
      {"failed", failed},
      {"duration_seconds", seconds},
      {"prompt_tokens", prompt_tokens},
      {"generated_tokens", generated_tokens},
      {"tokens_per_second", static_cast<double>(generated_tokens) / seconds},
      {"requests_per_second", static_cast<double>(results_.size()) / seconds},
      {"time_to_first_token_seconds", Percentiles(first)},
      {"inter_token_latency_seconds", Percentiles(gaps)},
      {"end_to_end_seconds", Percentiles(whole)},
      {"errors", errors}};
}

void Print(const json& report, const Output& output) {
  output.Line(absl::StrFormat(
      "%d requests, %d failed, %.2f s, %.1f tokens/s, %.2f requests/s",
      report["requests"].get<int64_t>(), report["failed"].get<int64_t>(),
      report["duration_seconds"].get<double>(),
      report["tokens_per_second"].get<double>(),
      report["requests_per_second"].get<double>()));
  output.Line("                         p50 ms     p90 ms     p99 ms");
  for (const char* name :
       {"time_to_first_token_seconds", "inter_token_latency_seconds",
        "end_to_end_seconds"}) {
    const json& row = report[name];
    const std::string label(name, std::string(name).size() - 8);
    output.Line(absl::StrFormat(
        "%-20s %10.3f %10.3f %10.3f", label, 1e3 * row["p50"].get<double>(),
        1e3 * row["p90"].get<double>(), 1e3 * row["p99"].get<double>()));
  }
  for (const auto& [code, count] : report["errors"].items()) {
    output.Line(absl::StrCat(code, ": ", count.get<int64_t>()));
  }
}

absl::Status Check(const ServeBenchOptions& options) {
  if (options.concurrency < 1 || options.concurrency > 65536) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--concurrency: ", options.concurrency, "; want 1 to 65536"));
  }
  if (options.prompt_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--prompt-tokens: ", options.prompt_tokens, "; want at least 1"));
  }
  if (options.rate < 0 || options.requests < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rate and --requests: ", options.rate, " and ",
                     options.requests, "; want at least 0"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunServeBench(const ServeBenchOptions& options,
                           const Output& output) {
  CHELA_RETURN_IF_ERROR(Check(options));
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel(options.target, grpc::InsecureChannelCredentials());
  const auto stub = v1::GenerationService::NewStub(channel);
  absl::StatusOr<Target> target = Ask(*stub);
  if (!target.ok()) return target.status();

  Load load(options, *target, *stub);
  load.Run();
  json report = load.Report();
  report["model"] = target->info;
  report["load"] = {{"target", options.target},
                    {"concurrency", options.rate > 0 ? 0 : options.concurrency},
                    {"rate", options.rate},
                    {"prompt_tokens", options.prompt_tokens},
                    {"max_tokens", options.max_tokens},
                    {"seed", options.seed}};
  Print(report, output);
  return output.Write(report);
}

}  // namespace chela::bench
