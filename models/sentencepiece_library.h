#ifndef CHELA_MODELS_SENTENCEPIECE_LIBRARY_H_
#define CHELA_MODELS_SENTENCEPIECE_LIBRARY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace chela {

// The SentencePiece library behind a wall: its header defines
// absl::string_view, which Abseil's own headers define differently, so no file
// may include both. Hence no Abseil type here. Exceptions of the library end
// here too. Immutable and thread-safe.
class SentencePieceLibrary {
 public:
  // From SentencePieceFile::library_model. Null, and why in *error, if the
  // library refuses it.
  static std::unique_ptr<SentencePieceLibrary> Load(const std::string& model,
                                                    std::string* error);
  ~SentencePieceLibrary();

  // Appends the ids of `text`, valid UTF-8 without NUL. False, with nothing
  // appended, if the library fails.
  bool Encode(std::string_view text, std::vector<int32_t>* ids) const;

  // The id of the unknown piece.
  int32_t unknown_id() const;

 private:
  struct Impl;
  explicit SentencePieceLibrary(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace chela

#endif  // CHELA_MODELS_SENTENCEPIECE_LIBRARY_H_
