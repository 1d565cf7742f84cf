#include "models/tokenizer_json_parts.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

using Json = nlohmann::json;

// The ids that "special_tokens" of a TemplateProcessing gives a token.
absl::StatusOr<int32_t> IdOfTemplateToken(const Json& special_tokens,
                                          const std::string& name,
                                          const std::string& path) {
  const auto entry = special_tokens.find(name);
  if (entry != special_tokens.end() && entry->is_object()) {
    const auto ids = entry->find("ids");
    if (ids != entry->end() && ids->is_array() && ids->size() == 1 &&
        (*ids)[0].is_number_unsigned() && (*ids)[0] <= INT32_MAX) {
      return (*ids)[0].get<int32_t>();
    }
  }
  return WrongValue(absl::StrCat(path, ".special_tokens.", Quoted(name)),
                    entry == special_tokens.end() ? Json() : *entry,
                    "an object with \"ids\": [one id]");
}

// "single": [{"SpecialToken": ...}] at most, then {"Sequence": {"id": "A"}}.
absl::Status ReadTemplate(const Json& json, const std::string& path,
                          TokenizerJson& file) {
  JsonReader reader(json, path + ".");
  reader.Choice("type", {"TemplateProcessing"});
  reader.Has("pair");  // Texts come alone here.
  reader.Has("single");
  const Json* special_tokens = reader.Object("special_tokens");
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(RefuseUnknownKeys(reader));
  const Json single = json.value("single", Json());
  const auto holds = [&](size_t i, const char* key) {
    return i < single.size() && single[i].is_object() &&
           single[i].size() == 1 && single[i].contains(key) &&
           single[i][key].is_object() && single[i][key].contains("id") &&
           single[i][key]["id"].is_string();
  };
  const bool front = single.is_array() && holds(0, "SpecialToken");
  const size_t text = front ? 1 : 0;
  if (!single.is_array() || single.size() != text + 1 ||
      !holds(text, "Sequence") || single[text]["Sequence"]["id"] != "A") {
    return WrongValue(path + ".single", single,
                      "at most one SpecialToken, then the Sequence A");
  }
  if (!front) return absl::OkStatus();
  const absl::StatusOr<int32_t> id = IdOfTemplateToken(
      *special_tokens, single[0]["SpecialToken"]["id"].get<std::string>(),
      path);
  if (!id.ok()) return id.status();
  if (file.front_token.has_value()) {
    return WrongValue(path + ".single", single, "one token in front in all");
  }
  file.front_token = *id;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadPostProcessor(const Json& json, const std::string& path,
                               TokenizerJson& file) {
  // ByteLevel changes offsets only.
  if (json.is_null() || TypeOf(json) == "ByteLevel") return absl::OkStatus();
  if (TypeOf(json) == "TemplateProcessing") {
    return ReadTemplate(json, path, file);
  }
  if (TypeOf(json) != "Sequence") {
    return WrongValue(path, json,
                      "null, ByteLevel, TemplateProcessing or a Sequence of "
                      "those");
  }
  const absl::StatusOr<const Json*> steps =
      ReadSequence(json, path, "processors");
  if (!steps.ok()) return steps.status();
  for (size_t i = 0; i < (*steps)->size(); ++i) {
    CHELA_RETURN_IF_ERROR(ReadPostProcessor(
        (**steps)[i], absl::StrCat(path, ".processors[", i, "]"), file));
  }
  return absl::OkStatus();
}

absl::Status WrongValue(const std::string& path, const Json& found,
                        const std::string& wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", Shown(found), "; want ", wanted));
}

absl::Status RefuseUnknownKeys(const JsonReader& reader) {
  const std::vector<std::string> unknown = reader.UnknownKeys();
  if (unknown.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      Quoted(unknown.front()),
      ": an unknown key, which may change ids; want a file without it"));
}

std::string TypeOf(const Json& json) {
  if (!json.is_object()) return "";
  const auto type = json.find("type");
  if (type == json.end() || !type->is_string()) return "";
  return type->get<std::string>();
}

absl::StatusOr<const Json*> ReadSequence(const Json& json,
                                         const std::string& path,
                                         const char* key) {
  const auto steps = json.find(key);
  if (json.size() != 2 || steps == json.end() || !steps->is_array() ||
      steps->empty()) {
    return WrongValue(path, json,
                      absl::StrCat("\"type\" and a list \"", key, "\""));
  }
  return &*steps;
}

}  // namespace chela
