#include "models/sentencepiece_module.h"

#include <sentencepiece_processor.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

namespace chela {
namespace {

using Processor = sentencepiece::SentencePieceProcessor;

void* Load(const char* data, size_t bytes, char* error, size_t error_bytes) {
  try {
    auto processor = std::make_unique<Processor>();
    const auto status =
        processor->LoadFromSerializedProto(std::string_view(data, bytes));
    if (status.ok()) return processor.release();
    std::snprintf(error, error_bytes, "%s", status.ToString().c_str());
  } catch (const std::exception& exception) {
    std::snprintf(error, error_bytes, "%s", exception.what());
  }
  return nullptr;
}

void Destroy(void* model) { delete static_cast<Processor*>(model); }

bool Encode(const void* model, const char* text, size_t bytes,
            void (*sink)(void*, const int32_t*, size_t), void* context) {
  std::vector<int> ids;
  try {
    if (!static_cast<const Processor*>(model)
             ->Encode(std::string_view(text, bytes), &ids)
             .ok()) {
      return false;
    }
  } catch (const std::exception&) {
    return false;
  }
  sink(context, ids.data(), ids.size());
  return true;
}

int32_t UnknownId(const void* model) {
  return static_cast<const Processor*>(model)->unk_id();
}

}  // namespace
}  // namespace chela

extern "C" __attribute__((visibility("default")))
const chela::SentencePieceModule*
ChelaSentencePieceModule1() {
  static constexpr chela::SentencePieceModule kModule = {
      chela::Load, chela::Destroy, chela::Encode, chela::UnknownId};
  return &kModule;
}
