#include "server/tools/bench/tokenizer_bench.h"

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/json_text.h"
#include "models/model_config.h"
#include "models/tokenizer.h"
#include "server/tools/bench/clock.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

using nlohmann::json;

constexpr size_t kMaxTextBytes = size_t{1} << 30;

double MedianSeconds(int32_t runs, absl::FunctionRef<void()> work) {
  std::vector<double> seconds;
  for (int32_t run = 0; run < runs; ++run) {
    const Clock::time_point begin = Clock::now();
    work();
    seconds.push_back(
        std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return Percentile(std::move(seconds), 0.5);
}

}  // namespace

absl::Status RunTokenizerBench(const TokenizerBenchOptions& options,
                               const Output& output) {
  const absl::StatusOr<ModelConfig> config =
      ModelConfig::Load(options.model_dir);
  if (!config.ok()) return config.status();
  const absl::StatusOr<std::string> text =
      ReadTextFile(options.text_file, kMaxTextBytes);
  if (!text.ok()) return text.status();
  const Clock::time_point begin = Clock::now();
  const absl::StatusOr<std::unique_ptr<Tokenizer>> loaded =
      Tokenizer::Load(options.model_dir, *config);
  if (!loaded.ok()) return loaded.status();
  const double load_seconds =
      std::chrono::duration<double>(Clock::now() - begin).count();
  const Tokenizer& tokenizer = **loaded;

  std::vector<int32_t> ids;
  size_t stable = 0;
  absl::StatusOr<std::string> back;
  const std::vector<std::pair<const char*, double>> seconds = {
      {"encode",
       MedianSeconds(options.runs, [&] { ids = tokenizer.Encode(*text); })},
      {"stable_prefix",
       MedianSeconds(options.runs,
                     [&] { stable = tokenizer.StablePrefix(*text); })},
      {"decode",
       MedianSeconds(options.runs, [&] { back = tokenizer.Decode(ids); })}};
  if (!back.ok()) return back.status();

  json result = {
      {"host", DescribeHost()},       {"tokenizer", tokenizer.kind()},
      {"load_seconds", load_seconds}, {"bytes", text->size()},
      {"tokens", ids.size()},         {"runs", options.runs},
      {"round_trip", *back == *text}, {"stable_bytes", stable}};
  output.Line(
      absl::StrFormat("%s, loaded in %.3f s: %d bytes, %d tokens%s",
                      tokenizer.kind(), load_seconds, text->size(), ids.size(),
                      *back == *text ? "" : ", not the same text back"));
  for (const auto& [name, time] : seconds) {
    const double rate = static_cast<double>(text->size()) / time;
    result[absl::StrCat(name, "_bytes_per_second")] = rate;
    output.Line(absl::StrFormat("%-14s %8.2f MB/s", name, rate / 1e6));
  }
  return output.Write(result);
}

}  // namespace chela::bench
