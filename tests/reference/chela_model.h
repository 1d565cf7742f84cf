#ifndef CHELA_TESTS_REFERENCE_CHELA_MODEL_H_
#define CHELA_TESTS_REFERENCE_CHELA_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/model_config.h"

namespace chela::reference {

// A checkpoint as numbers: every tensor as stored, widened to double.
struct Checkpoint {
  ModelConfig config;
  std::map<std::string, std::vector<double>> tensors;
};

// Reads a valid checkpoint folder; ends the test run if it cannot.
Checkpoint LoadCheckpoint(const std::string& directory);

// The whole model in double, from its definition: the attention as the sum
// over all earlier tokens (no recurrence), the long convolution as the sum
// over its taps, block means as sums over their positions. With bf16 or fp16
// checkpoints, matrices and left operands of products are rounded to that
// type; nothing else is.
// Returns the logits [tokens.size()][vocab_size] of every token of one
// sequence that starts with tokens[0].
std::vector<std::vector<double>> Logits(const Checkpoint& checkpoint,
                                        const std::vector<int32_t>& tokens);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_CHELA_MODEL_H_
