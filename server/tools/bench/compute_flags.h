#ifndef CHELA_SERVER_TOOLS_BENCH_COMPUTE_FLAGS_H_
#define CHELA_SERVER_TOOLS_BENCH_COMPUTE_FLAGS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/tools/bench/attention_bench.h"
#include "server/tools/bench/engine_bench.h"
#include "server/tools/bench/explicit_bench.h"
#include "server/tools/bench/kernel_bench.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// Flags of what computes, and those of the subcommands `engine` and `kernels`.
void AddBackendFlags(CLI::App& command, BackendOptions& backend);
// --size or --model, and --long-conv.
void AddModelFlags(CLI::App& command, std::string& size, std::string& model_dir,
                   LongConvKind& long_conv);
CLI::App* AddEngine(CLI::App& app, EngineBenchOptions& options);
CLI::App* AddKernels(CLI::App& app, KernelBenchOptions& options);

// `kernels` with --attention, likewise.
void AddAttention(CLI::App& command, bool& wanted,
                  AttentionBenchOptions& options);
absl::Status RunAttention(const KernelBenchOptions& kernels,
                          AttentionBenchOptions options, const Output& output);

// `kernels` with --explicit: sizes, rows, position and so on are its own.
void AddExplicit(CLI::App& command, bool& wanted,
                 ExplicitBenchOptions& options);
absl::Status RunExplicit(const KernelBenchOptions& kernels,
                         ExplicitBenchOptions options, const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_COMPUTE_FLAGS_H_
