#include <chrono>
#include <iostream>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/tools/bench/compute_flags.h"
#include "server/tools/bench/serve_bench.h"
#include "server/tools/bench/session_bench.h"
#include "server/tools/bench/tokenizer_bench.h"

namespace {

using chela::bench::AddBackendFlags;
using chela::bench::AddModelFlags;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// --json FILE; "-" or no value: stdout.
void AddJsonFlag(CLI::App& command, std::string& json) {
  command
      .add_option("--json", json,
                  "Write one JSON object to FILE; without FILE, to stdout")
      ->expected(0, 1)
      ->type_name("FILE");
}

// Durations as everywhere in this project: 500ms, 30s.
void AddDuration(CLI::App& command, const char* name,
                 std::chrono::duration<double>& value, const char* help) {
  command
      .add_option_function<std::string>(
          name,
          [&value, name](const std::string& text) {
            absl::Duration duration;
            if (!absl::ParseDuration(text, &duration) ||
                duration <= absl::ZeroDuration()) {
              throw CLI::ValidationError(
                  name, text + "; want a duration above 0, such as 30s");
            }
            value =
                std::chrono::duration<double>(absl::ToDoubleSeconds(duration));
          },
          help)
      ->type_name("DURATION");
}

CLI::App* AddServe(CLI::App& app, chela::bench::ServeBenchOptions& options) {
  CLI::App* command = app.add_subcommand("serve", "Load on a running server");
  const auto option = [command](const char* name, auto& value,
                                const char* help) {
    return command->add_option(name, value, help)->capture_default_str();
  };
  option("--target", options.target, "HOST:PORT of the server");
  CLI::Option* concurrency = option("--concurrency", options.concurrency,
                                    "Closed loop: clients that wait for their "
                                    "answer before they ask again");
  option("--rate", options.rate,
         "Open loop: requests a second, arriving as a Poisson process")
      ->excludes(concurrency);
  option("--requests", options.requests, "To send in all; 0: see --duration");
  AddDuration(*command, "--duration", options.duration,
              "To send for, if there is no --requests (10s)");
  AddDuration(*command, "--timeout", options.timeout, "Of one request (120s)");
  option("--prompt-tokens", options.prompt_tokens, "Random ids, a request");
  option("--max-tokens", options.max_tokens, "Generated, a request");
  option("--temperature", options.temperature, "Of each request");
  option("--seed", options.seed, "Of prompts, arrivals and sampling");
  return command;
}

CLI::App* AddSessions(CLI::App& app,
                      chela::bench::SessionBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "sessions", "Keep the state of a text: snapshots, turns, forks");
  AddModelFlags(*command, options.size, options.model_dir, options.long_conv);
  command
      ->add_option("--position", options.position,
                   "Random tokens that the state has read")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--runs", options.runs, "Of each measurement")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--folder", options.folder,
                      "Also with sessions in this folder");
  command->add_option("--redis", options.redis,
                      "Also with sessions there: redis://HOST:PORT/DATABASE");
  AddBackendFlags(*command, options.backend);
  return command;
}

CLI::App* AddTokenizer(CLI::App& app,
                       chela::bench::TokenizerBenchOptions& options) {
  CLI::App* command =
      app.add_subcommand("tokenizer", "Encode and decode a text on one thread");
  command->add_option("--model", options.model_dir, "A checkpoint folder")
      ->required();
  command->add_option("--text", options.text_file, "A file")->required();
  command->add_option("--runs", options.runs, "Of which the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  return command;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Benchmarks of the CHELA inference server", "chela-bench");
  app.require_subcommand(1);
  chela::bench::EngineBenchOptions engine_options;
  chela::bench::KernelBenchOptions kernel_options;
  chela::bench::ServeBenchOptions serve_options;
  chela::bench::SessionBenchOptions session_options;
  chela::bench::TokenizerBenchOptions tokenizer_options;
  std::string json;
  CLI::App* const engine = chela::bench::AddEngine(app, engine_options);
  CLI::App* const kernels = chela::bench::AddKernels(app, kernel_options);
  chela::bench::AttentionBenchOptions attention_options;
  bool only_attention = false;
  chela::bench::AddAttention(*kernels, only_attention, attention_options);
  chela::bench::ExplicitBenchOptions explicit_options;
  bool only_explicit = false;
  chela::bench::AddExplicit(*kernels, only_explicit, explicit_options);
  CLI::App* const serve = AddServe(app, serve_options);
  CLI::App* const sessions = AddSessions(app, session_options);
  CLI::App* const tokenizer = AddTokenizer(app, tokenizer_options);
  for (CLI::App* command : {engine, kernels, serve, sessions, tokenizer}) {
    AddJsonFlag(*command, json);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  for (CLI::App* command : {engine, kernels, serve, sessions, tokenizer}) {
    if (command->count("--json") > 0 && json.empty()) json = "-";
  }
  const chela::bench::Output output(json);
  absl::Status status;
  if (*engine) {
    status = chela::bench::RunEngineBench(engine_options, output);
  } else if (*kernels && only_attention) {
    status =
        chela::bench::RunAttention(kernel_options, attention_options, output);
  } else if (*kernels && only_explicit) {
    status =
        chela::bench::RunExplicit(kernel_options, explicit_options, output);
  } else if (*kernels) {
    status = chela::bench::RunKernelBench(kernel_options, output);
  } else if (*serve) {
    status = chela::bench::RunServeBench(serve_options, output);
  } else if (*sessions) {
    status = chela::bench::RunSessionBench(session_options, output);
  } else {
    status = chela::bench::RunTokenizerBench(tokenizer_options, output);
  }
  if (!status.ok()) {
    std::cerr << "chela-bench: " << status << '\n';
    return status.code() == absl::StatusCode::kInvalidArgument ? kUsage
                                                               : kFailed;
  }
  return 0;
}
