#ifndef CHELA_MODELS_SENTENCEPIECE_MODULE_H_
#define CHELA_MODELS_SENTENCEPIECE_MODULE_H_

#include <cstddef>
#include <cstdint>

namespace chela {

// What libchela_sentencepiece.so offers. The SentencePiece of Debian carries
// and exports an old protobuf of its own, which breaks the protobuf of any
// program that links both, before main; so it lives in a module that is opened
// with its symbols kept to itself. Plain C types, no exceptions.
struct SentencePieceModule {
  // A model from its serialised form, or null and why in `error` (cut to
  // `error_bytes`, ended by NUL).
  void* (*load)(const char* data, size_t bytes, char* error,
                size_t error_bytes);
  void (*destroy)(void* model);
  // Hands the ids of `text` to `sink` once; false if the library fails.
  bool (*encode)(const void* model, const char* text, size_t bytes,
                 void (*sink)(void* context, const int32_t* ids, size_t count),
                 void* context);
  int32_t (*unknown_id)(const void* model);
};

inline constexpr char kSentencePieceModuleFile[] = "libchela_sentencepiece.so";
inline constexpr char kSentencePieceModuleSymbol[] =
    "ChelaSentencePieceModule1";
using SentencePieceModuleFunction = const SentencePieceModule* (*)();

}  // namespace chela

#endif  // CHELA_MODELS_SENTENCEPIECE_MODULE_H_
