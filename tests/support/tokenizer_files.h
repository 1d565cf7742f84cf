#ifndef CHELA_TESTS_SUPPORT_TOKENIZER_FILES_H_
#define CHELA_TESTS_SUPPORT_TOKENIZER_FILES_H_

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "models/tokenizer.h"

namespace chela::test_support {

// The bytes of a file in tests/data/tokenizers.
std::string TokenizerData(const std::string& name);

// For tokenizers of `vocab_size` ids: BOS 1, EOS 2, BOS not added.
ModelConfig TokenizerConfig(int32_t vocab_size = 2048);

// The byte-level tokenizer of `name`.json; null after a failure.
std::unique_ptr<Tokenizer> LoadJson(const std::string& name);

// Stored SentencePiece models; all but the last have byte fallback.
inline constexpr const char* kSentencePieceModels[] = {
    "unigram_prefix", "bpe_plain", "unigram_phrases", "bpe_unknown"};
// The SentencePiece tokenizer of `name`.model; null after a failure.
std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& name);

std::vector<int32_t> Concatenated(std::vector<int32_t> a,
                                  const std::vector<int32_t>& b);

// Words, scripts, symbols of the models, and bytes that are no text.
std::string RandomPieceText(std::mt19937& random, size_t parts);

// Words, scripts, symbols and added tokens of the test files, and bytes that
// are no text.
std::string RandomTokenizerText(std::mt19937& random, size_t parts);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SUPPORT_TOKENIZER_FILES_H_
