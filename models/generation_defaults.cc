#include "models/generation_defaults.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// A count that has our name and Hugging Face's.
std::optional<int32_t> EitherName(JsonReader& reader, const char* ours,
                                  const char* theirs, int64_t min) {
  std::optional<int32_t> value;
  if (reader.Has(ours)) value = reader.Int32(ours, {min, kInt32Max});
  if (!reader.Has(theirs)) return value;
  const int32_t other = reader.Int32(theirs, {min, kInt32Max});
  if (value.value_or(other) != other) {
    reader.Fail(theirs, absl::StrCat(other),
                absl::StrCat("the same as ", ours, " = ", *value));
  }
  return other;
}

}  // namespace

absl::StatusOr<GenerationDefaults> GenerationDefaults::Parse(
    const std::string& json) {
  const absl::StatusOr<nlohmann::json> object = ParseJsonObject(json);
  if (!object.ok()) return object.status();
  JsonReader reader(*object);
  GenerationDefaults defaults;
  defaults.max_tokens = EitherName(reader, "max_tokens", "max_new_tokens", 1);
  defaults.min_tokens = EitherName(reader, "min_tokens", "min_new_tokens", 0);
  const auto number = [&reader](const char* key,
                                JsonReader::NumberRange range) {
    return reader.Has(key) ? std::optional(reader.Number(key, range))
                           : std::nullopt;
  };
  const auto integer = [&reader](const char* key, int64_t min) {
    return reader.Has(key) ? std::optional(reader.Int32(key, {min, kInt32Max}))
                           : std::nullopt;
  };
  const JsonReader::NumberRange share = {0, 1, /*open_min=*/true};
  defaults.temperature = number("temperature", {0, 100});
  defaults.top_k = integer("top_k", 0);
  defaults.top_p = number("top_p", share);
  defaults.min_p = number("min_p", {0, 1});
  defaults.typical_p = number("typical_p", share);
  defaults.repetition_penalty = number("repetition_penalty", {0, 100, true});
  defaults.presence_penalty = number("presence_penalty", {-2, 2});
  defaults.frequency_penalty = number("frequency_penalty", {-2, 2});
  defaults.penalty_window = integer("penalty_window", 1);
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
