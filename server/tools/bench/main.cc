#include <chrono>
#include <iostream>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "server/tools/bench/engine_bench.h"
#include "server/tools/bench/kernel_bench.h"
#include "server/tools/bench/serve_bench.h"
#include "server/tools/bench/session_bench.h"
#include "server/tools/bench/tokenizer_bench.h"

namespace {

using chela::CpuKernels;
using chela::LongConvKind;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

void AddBackendFlags(CLI::App& command, chela::BackendOptions& backend) {
  command
      .add_option_function<std::string>(
          "--device",
          [&backend](const std::string& text) {
            if (text == "cpu") return;
            backend.kind = chela::BackendKind::kCuda;
            if (text == "cuda") return;
            if (text.rfind("cuda:", 0) != 0 ||
                !absl::SimpleAtoi(text.substr(5), &backend.device)) {
              throw CLI::ValidationError("--device",
                                         text + "; want cpu, cuda or cuda:N");
            }
          },
          "What computes: cpu, cuda or cuda:N [cpu]")
      ->type_name("DEVICE");
  command
      .add_option("--threads", backend.threads,
                  "Threads that compute; 0: every core this process may use")
      ->capture_default_str();
  command
      .add_option("--kernels", backend.max_kernels,
                  "The best kernel set to use: generic, avx2, avx512, "
                  "avx512_bf16")
      ->transform(CLI::CheckedTransformer(std::map<std::string, CpuKernels>{
          {"generic", CpuKernels::kGeneric},
          {"avx2", CpuKernels::kAvx2},
          {"avx512", CpuKernels::kAvx512},
          {"avx512_bf16", CpuKernels::kAvx512Bf16}}));
}

// --json FILE; "-" or no value: stdout.
void AddJsonFlag(CLI::App& command, std::string& json) {
  command
      .add_option("--json", json,
                  "Write one JSON object to FILE; without FILE, to stdout")
      ->expected(0, 1)
      ->type_name("FILE");
}

void AddLongConvFlag(CLI::App& command, LongConvKind& kind) {
  command
      .add_option("--long-conv", kind,
                  "Kernel of a named size: hierarchical, explicit")
      ->transform(CLI::CheckedTransformer(std::map<std::string, LongConvKind>{
          {"hierarchical", LongConvKind::kHierarchical},
          {"explicit", LongConvKind::kExplicit}}));
}

CLI::App* AddEngine(CLI::App& app, chela::bench::EngineBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "engine", "Decode and prefill offline, beside the read ceiling");
  CLI::Option* size =
      command
          ->add_option("--size", options.size,
                       "Random weights of 31m, 125m, 350m or 1.3b")
          ->capture_default_str();
  command->add_option("--model", options.model_dir, "A checkpoint folder")
      ->excludes(size);
  AddLongConvFlag(*command, options.long_conv);
  const auto list = [command](const char* name, auto& values,
                              const char* help) {
    command->add_option(name, values, help)
        ->delimiter(',')
        ->capture_default_str();
  };
  list("--batch", options.batches, "Sequences that decode together");
  list("--position", options.positions, "Tokens each of them has behind it");
  list("--prefill", options.prefill_tokens, "Prompt lengths; 0: none");
  list("--chunk", options.chunks, "Tokens of one prefill step");
  command
      ->add_option("--weights", options.int8_weights,
                   "Type of the matrices: auto (the model's), int8")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, bool>{{"auto", false}, {"int8", true}}));
  command->add_flag("--spread", options.spread,
                    "Spread a batch's positions over a period of the long "
                    "convolution");
  command->add_flag("--stages", options.stages,
                    "Also what each op takes of a step; CPU only");
  command->add_flag("--control", options.control,
                    "In turn with the steps, read as many bytes and do nothing "
                    "else: the p99/p50 that the machine has itself; CPU only");
  command->add_flag("--in-turn", options.in_turn,
                    "Step the first row in turn with each of the others, and "
                    "give their ratios");
  command->add_flag("--onednn", options.onednn,
                    "Prefill in turn with oneDNN's bf16 products of all "
                    "layers at 64 rows (in a build with CHELA_ONEDNN)");
  command
      ->add_option("--periods", options.periods,
                   "Of the long convolution (2^S steps), timed at least; 0: "
                   "as many steps as the pairs hold")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  const auto rule = [command](const char* name, auto& value, double most) {
    command->add_option(name, value, "Of the sampler")
        ->check(CLI::Range(0.0, most))
        ->capture_default_str();
  };
  rule("--temperature", options.sampling.temperature, 100);
  rule("--top-k", options.sampling.top_k, 1e9);
  rule("--top-p", options.sampling.top_p, 1);
  rule("--min-p", options.sampling.min_p, 1);
  command
      ->add_option("--seconds", options.seconds,
                   "Of each half of a pair (steps, read test), at least")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--pairs", options.pairs, "At least, a row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddBackendFlags(*command, options.backend);
  return command;
}

CLI::App* AddKernels(CLI::App& app, chela::bench::KernelBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "kernels", "Each op of a layer alone, beside the read ceiling");
  command->add_option("--size", options.sizes, "Named sizes")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--rows", options.rows, "Decode rows of a step")
      ->delimiter(',')
      ->capture_default_str();
  command->add_flag("--products", options.products_only,
                    "Only the matrix products (beside oneDNN in a build with "
                    "CHELA_ONEDNN)");
  command
      ->add_option("--prefill", options.prefill,
                   "Instead: ops over whole prompts, attention, hierarchical")
      ->delimiter(',');
  command
      ->add_option("--sequences", options.sequences,
                   "Prompts in a step of --prefill")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--tokens", options.tokens, "Of each prompt")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--position", options.position, "Of the sequences")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--seconds", options.seconds,
                   "Of each half of a pair (calls, read test)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--pairs", options.pairs, "A row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddBackendFlags(*command, options.backend);
  return command;
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
  CLI::Option* size =
      command
          ->add_option("--size", options.size,
                       "Random weights of 31m, 125m, 350m or 1.3b")
          ->capture_default_str();
  command->add_option("--model", options.model_dir, "A checkpoint folder")
      ->excludes(size);
  AddLongConvFlag(*command, options.long_conv);
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
  CLI::App* const engine = AddEngine(app, engine_options);
  CLI::App* const kernels = AddKernels(app, kernel_options);
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
