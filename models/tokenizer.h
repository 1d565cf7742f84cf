#ifndef CHELA_MODELS_TOKENIZER_H_
#define CHELA_MODELS_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/model_config.h"

namespace chela {

// Text to token ids and back. Immutable and thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From a checkpoint folder: "tokenizer": "bytes" in config.json, else
  // tokenizer.model (SentencePiece), else tokenizer.json (Hugging Face,
  // byte-level BPE). INVALID_ARGUMENT if the file is broken, not supported or
  // its vocabulary does not fit config.vocab_size; NOT_FOUND without one.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::string& directory, const ModelConfig& config);

  // "bytes", "sentencepiece", "byte_level_bpe".
  virtual std::string kind() const = 0;
  int32_t vocab_size() const { return vocab_size_; }
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }
  bool add_bos() const { return add_bos_; }

  // The ids of `text`, any bytes, as the start of a sequence but without BOS.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // The same as a continuation: without SentencePiece's dummy prefix, or the
  // space of a tokenizer.json's add_prefix_space.
  virtual std::vector<int32_t> EncodeContinuation(
      std::string_view text) const = 0;
  // BOS if the checkpoint wants it, then Encode(text).
  std::vector<int32_t> EncodePrompt(std::string_view text) const;

  // The length of the longest prefix of `text` whose encoding does not depend
  // on what follows it, so that Encode(prefix) + EncodeContinuation(rest) =
  // Encode(text) for every continuation. For streams.
  virtual size_t StablePrefix(std::string_view text) const = 0;

  // The bytes that a token stands for: empty for control tokens (BOS, EOS),
  // possibly a part of a UTF-8 character. `at_start`: the first token of a
  // sequence (a dummy prefix is dropped there). Requires id in [0, vocab).
  virtual std::string TokenBytes(int32_t id, bool at_start) const = 0;
  // The piece as people name it ("▁the", "<0x0A>", "<s>").
  virtual std::string TokenName(int32_t id) const = 0;

  // The concatenated bytes of `ids`. INVALID_ARGUMENT if an id is outside
  // the vocabulary, naming its index.
  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids) const;

 protected:
  explicit Tokenizer(const ModelConfig& config)
      : vocab_size_(config.vocab_size),
        bos_id_(config.bos_token_id),
        eos_id_(config.eos_token_id),
        add_bos_(config.add_bos_token) {}

 private:
  int32_t vocab_size_;
  int32_t bos_id_;
  int32_t eos_id_;
  bool add_bos_;
};

}  // namespace chela

#endif  // CHELA_MODELS_TOKENIZER_H_
