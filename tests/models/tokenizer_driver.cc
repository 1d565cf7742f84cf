// tokenizer_driver FOLDER VOCAB_SIZE: the tokenizer of a folder for tests in
// other languages. Standard input holds requests, a kind and a text each:
//   'e' (encode as a start), 'c' (encode as a continuation), 'd' (the bytes of
//   the ids of the text), 's' (the size of the stable prefix);
//   its size in bytes, a little-endian uint32; the bytes.
// Each answer on standard output is a little-endian uint32 count and so many
// little-endian int32 values: ids, bytes, or the one size.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "models/model_config.h"
#include "models/tokenizer.h"

namespace {

bool ReadAll(char* data, size_t size) {
  return std::fread(data, 1, size, stdin) == size;
}

std::vector<int32_t> Answer(const chela::Tokenizer& tokenizer, char kind,
                            const std::string& text) {
  if (kind == 'e') return tokenizer.Encode(text);
  if (kind == 'c') return tokenizer.EncodeContinuation(text);
  if (kind == 's') return {static_cast<int32_t>(tokenizer.StablePrefix(text))};
  const auto bytes = tokenizer.Decode(tokenizer.Encode(text));
  if (!bytes.ok()) return {-1};
  std::vector<int32_t> values;
  for (const char byte : *bytes) values.push_back(static_cast<uint8_t>(byte));
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  chela::ModelConfig config;
  config.vocab_size = std::atoi(argv[2]);
  const auto tokenizer = chela::Tokenizer::Load(argv[1], config);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  char kind = 0;
  while (ReadAll(&kind, 1)) {
    uint32_t size = 0;
    if (!ReadAll(reinterpret_cast<char*>(&size), sizeof(size))) return 1;
    std::string text(size, '\0');
    if (!ReadAll(text.data(), size)) return 1;
    const std::vector<int32_t> values = Answer(**tokenizer, kind, text);
    const auto count = static_cast<uint32_t>(values.size());
    std::fwrite(&count, sizeof(count), 1, stdout);
    std::fwrite(values.data(), sizeof(int32_t), values.size(), stdout);
    std::fflush(stdout);
  }
  return 0;
}
