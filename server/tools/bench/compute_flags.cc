#include "server/tools/bench/compute_flags.h"

#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "kernels/attention_replay.h"

namespace chela::bench {

void AddBackendFlags(CLI::App& command, BackendOptions& backend) {
  command
      .add_option_function<std::string>(
          "--device",
          [&backend](const std::string& text) {
            if (text == "cpu") return;
            backend.kind = BackendKind::kCuda;
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

void AddModelFlags(CLI::App& command, std::string& size, std::string& model_dir,
                   LongConvKind& long_conv) {
  CLI::Option* const named =
      command
          .add_option("--size", size,
                      "Random weights of 31m, 125m, 350m or 1.3b")
          ->capture_default_str();
  command.add_option("--model", model_dir, "A checkpoint folder")
      ->excludes(named);
  command
      .add_option("--long-conv", long_conv,
                  "Kernel of a named size: hierarchical, explicit")
      ->transform(CLI::CheckedTransformer(std::map<std::string, LongConvKind>{
          {"hierarchical", LongConvKind::kHierarchical},
          {"explicit", LongConvKind::kExplicit}}));
}

// R of attention replay, or off.
void AddReplayFlag(CLI::App& command, int32_t& period) {
  command
      .add_option_function<std::string>(
          "--attention-replay",
          [&period](const std::string& text) {
            if (text == "off") return;
            if (!absl::SimpleAtoi(text, &period) || period < kMinReplay ||
                period > kMaxReplay) {
              throw CLI::ValidationError("--attention-replay",
                                         text + "; want off or 2 to 32");
            }
          },
          "Tokens from one write of the attention state to the next [off]")
      ->type_name("off|R");
}

void AddSamplerFlags(CLI::App& command, SamplingParams& sampling) {
  const auto rule = [&command](const char* name, auto& value, double most) {
    command.add_option(name, value, "Of the sampler")
        ->check(CLI::Range(0.0, most))
        ->capture_default_str();
  };
  rule("--temperature", sampling.temperature, 100);
  rule("--top-k", sampling.top_k, 1e9);
  rule("--top-p", sampling.top_p, 1);
  rule("--min-p", sampling.min_p, 1);
}

CLI::App* AddEngine(CLI::App& app, EngineBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "engine", "Decode and prefill offline, beside the read ceiling");
  AddModelFlags(*command, options.size, options.model_dir, options.long_conv);
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
  AddReplayFlag(*command, options.attention_replay);
  command->add_flag("--spread", options.spread,
                    "Spread a batch's positions over a period of the long "
                    "convolution, an odd distance apart");
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
  AddSamplerFlags(*command, options.sampling);
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

CLI::App* AddKernels(CLI::App& app, KernelBenchOptions& options) {
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
                    "CHELA_ONEDNN; on a GPU beside the fastest algorithm that "
                    "cuBLASLt's heuristic names)");
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

void AddAttention(CLI::App& command, bool& wanted,
                  AttentionBenchOptions& options) {
  CLI::Option* const flag = command.add_flag(
      "--attention", wanted, "Only the linear attention of one layer");
  command
      .add_option("--attention-replay", options.replays,
                  "Periods of replay, in turn with none (--attention)")
      ->needs(flag)
      ->delimiter(',')
      ->check(CLI::Range(kMinReplay, kMaxReplay));
}

absl::Status RunAttention(const KernelBenchOptions& kernels,
                          AttentionBenchOptions options, const Output& output) {
  options.sizes = kernels.sizes;
  options.rows = kernels.rows;
  options.position = kernels.position;
  options.backend = kernels.backend;
  options.seconds = kernels.seconds;
  options.pairs = kernels.pairs;
  return RunAttentionBench(options, output);
}

// `kernels` with --explicit: sizes, rows, position and so on are its own.
void AddExplicit(CLI::App& command, bool& wanted,
                 ExplicitBenchOptions& options) {
  CLI::Option* const flag =
      command.add_flag("--explicit", wanted,
                       "Only the explicit long convolution, of all layers");
  command
      .add_option("--prompts", options.prompts, "Of its prefill (--explicit)")
      ->needs(flag)
      ->capture_default_str();
  command
      .add_option("--prompt-tokens", options.prompt_tokens,
                  "Of each of them (--explicit)")
      ->needs(flag)
      ->capture_default_str();
}

absl::Status RunExplicit(const KernelBenchOptions& kernels,
                         ExplicitBenchOptions options, const Output& output) {
  options.sizes = kernels.sizes;
  options.rows = kernels.rows;
  options.position = kernels.position;
  options.backend = kernels.backend;
  options.seconds = kernels.seconds;
  return RunExplicitBench(options, output);
}

}  // namespace chela::bench
