#include "models/generation_defaults.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

}  // namespace

absl::StatusOr<GenerationDefaults> GenerationDefaults::Parse(
    const std::string& json) {
  const absl::StatusOr<nlohmann::json> object = ParseJsonObject(json);
  if (!object.ok()) return object.status();
  JsonReader reader(*object);
  GenerationDefaults defaults;
  if (reader.Has("temperature")) {
    defaults.temperature = reader.Number("temperature", {0, 100});
  }
  if (reader.Has("top_k")) {
    defaults.top_k = reader.Int32("top_k", {0, kInt32Max});
  }
  if (reader.Has("top_p")) {
    defaults.top_p = reader.Number("top_p", {0, 1, /*open_min=*/true});
  }
  for (const char* key : {"max_tokens", "max_new_tokens"}) {
    if (!reader.Has(key)) continue;
    const int32_t value = reader.Int32(key, {1, kInt32Max});
    if (defaults.max_tokens.value_or(value) != value) {
      reader.Fail(
          key, absl::StrCat(value),
          absl::StrCat("the same as max_tokens = ", *defaults.max_tokens));
    }
    defaults.max_tokens = value;
  }
  CHELA_RETURN_IF_ERROR(reader.status());
  defaults.unknown_keys = reader.UnknownKeys();
  return defaults;
}

absl::StatusOr<GenerationDefaults> GenerationDefaults::Load(
    const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/generation_config.json");
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return GenerationDefaults();
  if (!text.ok()) return text.status();
  absl::StatusOr<GenerationDefaults> defaults = Parse(*text);
  if (!defaults.ok()) {
    return absl::Status(defaults.status().code(),
                        absl::StrCat(path, ": ", defaults.status().message()));
  }
  return defaults;
}

}  // namespace chela
