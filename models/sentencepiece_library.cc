#include "models/sentencepiece_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "kernels/module_loader.h"
#include "models/sentencepiece_module.h"

namespace chela {
namespace {

constexpr size_t kErrorBytes = 512;

std::string LastError() {
  const char* error = dlerror();
  return error == nullptr ? "no reason given" : error;
}

// The module, left open for good. Null, and why in *error, without one.
const SentencePieceModule* Open(std::string* error) {
  std::string looked_in;
  for (const std::string& folder : ModuleFolders("")) {
    looked_in += " " + folder;
    const std::filesystem::path path =
        std::filesystem::path(folder) / kSentencePieceModuleFile;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    // DEEPBIND: its protobuf must not be ours, nor ours its. By dlmopen, since
    // AddressSanitizer refuses dlopen with that flag. (Its check that new and
    // delete match does not see through the binding, so the asan preset turns
    // that one off.)
    void* library = dlmopen(LM_ID_BASE, path.c_str(),
                            RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    void* function = library == nullptr
                         ? nullptr
                         : dlsym(library, kSentencePieceModuleSymbol);
    if (function != nullptr) {
      return reinterpret_cast<SentencePieceModuleFunction>(function)();
    }
    *error = path.string() + ": cannot be used: " + LastError();
    return nullptr;
  }
  *error = std::string(kSentencePieceModuleFile) +
           " is not installed: looked in" + looked_in;
  return nullptr;
}

}  // namespace

struct SentencePieceLibrary::Impl {
  Impl(const SentencePieceModule& code, void* loaded)
      : module(code), model(loaded) {}
  Impl(const Impl&) = delete;
  ~Impl() { module.destroy(model); }

  const SentencePieceModule& module;
  void* const model;
};

SentencePieceLibrary::SentencePieceLibrary(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
SentencePieceLibrary::~SentencePieceLibrary() = default;

std::unique_ptr<SentencePieceLibrary> SentencePieceLibrary::Load(
    const std::string& model, std::string* error) {
  const SentencePieceModule* module = Open(error);
  if (module == nullptr) return nullptr;
  char reason[kErrorBytes] = "";
  void* loaded = module->load(model.data(), model.size(), reason, kErrorBytes);
  if (loaded == nullptr) {
    *error = reason;
    return nullptr;
  }
  return std::unique_ptr<SentencePieceLibrary>(
      new SentencePieceLibrary(std::make_unique<Impl>(*module, loaded)));
}

bool SentencePieceLibrary::Encode(std::string_view text,
                                  std::vector<int32_t>* ids) const {
  const auto append = [](void* context, const int32_t* found, size_t count) {
    auto* out = static_cast<std::vector<int32_t>*>(context);
    out->insert(out->end(), found, found + count);
  };
  return impl_->module.encode(impl_->model, text.data(), text.size(), append,
                              ids);
}

int32_t SentencePieceLibrary::unknown_id() const {
  return impl_->module.unknown_id(impl_->model);
}

}  // namespace chela
