#ifndef CHELA_SERVER_TOOLS_BENCH_TOKENIZER_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_TOKENIZER_BENCH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench tokenizer: the tokenizer of a checkpoint folder.
struct TokenizerBenchOptions {
  std::string model_dir;  // config.json and the tokenizer; no weights needed
  std::string text_file;
  int32_t runs = 5;
};

// Bytes of the text a second, on one thread and in one call: encoding, looking
// for the stable prefix of a stream, decoding; the median of the runs. Says
// too whether the same text came back. Errors of the files as ModelConfig::Load
// and Tokenizer::Load give them.
absl::Status RunTokenizerBench(const TokenizerBenchOptions& options,
                               const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_TOKENIZER_BENCH_H_
