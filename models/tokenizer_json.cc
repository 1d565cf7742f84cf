#include "models/tokenizer_json.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"
#include "models/tokenizer_json_parts.h"

namespace chela {
namespace {

// \p{..} and \s by Unicode; ByteLevel's own, from GPT-2.
constexpr char kGpt2Pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";

using Json = nlohmann::json;

absl::Status CheckNull(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return absl::OkStatus();
  return WrongValue(key, *found, "null");
}

absl::Status ReadSplit(const Json& json, const std::string& path,
                       TokenizerJson& file) {
  JsonReader reader(json, path + ".");
  reader.Choice("type", {"Split"});
  reader.Choice("behavior", {"Isolated"});
  if (reader.Boolean("invert", false)) reader.Fail("invert", "true", "false");
  const Json* pattern = reader.Object("pattern");
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(RefuseUnknownKeys(reader));
  const auto regex = pattern->find("Regex");
  if (pattern->size() != 1 || regex == pattern->end() || !regex->is_string()) {
    return WrongValue(path + ".pattern", *pattern, "{\"Regex\": \"...\"}");
  }
  file.patterns.push_back(regex->get<std::string>());
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const Json& json, const std::string& path,
                           TokenizerJson& file) {
  JsonReader reader(json, path + ".");
  reader.Choice("type", {"ByteLevel"});
  const bool prefix = reader.Boolean("add_prefix_space", true);
  reader.Boolean("trim_offsets", true);
  if (reader.Boolean("use_regex", true)) file.patterns.push_back(kGpt2Pattern);
  CHELA_RETURN_IF_ERROR(reader.status());
  if (prefix && path != "pre_tokenizer") {
    return WrongValue(path + ".add_prefix_space", true, "false in a Sequence");
  }
  file.add_prefix_space = prefix;
  return RefuseUnknownKeys(reader);
}

absl::Status ReadPreTokenizer(const Json& json, TokenizerJson& file) {
  const std::string key = "pre_tokenizer";
  if (TypeOf(json) == "ByteLevel") return ReadByteLevel(json, key, file);
  if (TypeOf(json) != "Sequence") {
    return WrongValue(
        key, json, "ByteLevel, or a Sequence of Split that ends in ByteLevel");
  }
  const absl::StatusOr<const Json*> steps =
      ReadSequence(json, key, "pretokenizers");
  if (!steps.ok()) return steps.status();
  for (size_t i = 0; i < (*steps)->size(); ++i) {
    const std::string path = absl::StrCat(key, ".pretokenizers[", i, "]");
    const Json& step = (**steps)[i];
    const bool last = i + 1 == (*steps)->size();
    if (TypeOf(step) != (last ? "ByteLevel" : "Split")) {
      return WrongValue(path, step, last ? "ByteLevel at the end" : "Split");
    }
    CHELA_RETURN_IF_ERROR(last ? ReadByteLevel(step, path, file)
                               : ReadSplit(step, path, file));
  }
  return absl::OkStatus();
}

absl::Status ReadNormalizer(const Json& json, const std::string& path,
                            TokenizerJson& file) {
  if (json.is_null()) return absl::OkStatus();
  if (TypeOf(json) == "Sequence") {
    const absl::StatusOr<const Json*> steps =
        ReadSequence(json, path, "normalizers");
    if (!steps.ok()) return steps.status();
    for (size_t i = 0; i < (*steps)->size(); ++i) {
      CHELA_RETURN_IF_ERROR(ReadNormalizer(
          (**steps)[i], absl::StrCat(path, ".normalizers[", i, "]"), file));
    }
    return absl::OkStatus();
  }
  if (TypeOf(json) != "NFC" || json.size() != 1) {
    return WrongValue(path, json, "null or {\"type\": \"NFC\"}");
  }
  file.nfc = true;
  return absl::OkStatus();
}

absl::Status ReadDecoder(const Json& json) {
  if (TypeOf(json) == "ByteLevel") return absl::OkStatus();
  return WrongValue("decoder", json, "{\"type\": \"ByteLevel\"}");
}

}  // namespace

absl::StatusOr<TokenizerJson> TokenizerJson::Parse(std::string_view text,
                                                   int32_t vocab_size) {
  const absl::StatusOr<Json> json = ParseJsonObject(text);
  if (!json.ok()) return json.status();
  const auto value = [&](const char* key) {
    const auto found = json->find(key);
    return found == json->end() ? Json() : *found;
  };
  JsonReader reader(*json);
  reader.Choice("version", {"1.0"});
  const Json* model = reader.Object("model");
  for (const char* key : {"truncation", "padding", "added_tokens", "normalizer",
                          "pre_tokenizer", "post_processor", "decoder"}) {
    reader.Has(key);
  }
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(RefuseUnknownKeys(reader));
  TokenizerJson file;
  CHELA_RETURN_IF_ERROR(CheckNull(*json, "truncation"));
  CHELA_RETURN_IF_ERROR(CheckNull(*json, "padding"));
  CHELA_RETURN_IF_ERROR(
      ReadNormalizer(value("normalizer"), "normalizer", file));
  CHELA_RETURN_IF_ERROR(ReadPreTokenizer(value("pre_tokenizer"), file));
  CHELA_RETURN_IF_ERROR(ReadDecoder(value("decoder")));
  CHELA_RETURN_IF_ERROR(ReadModel(*model, vocab_size, file));
  CHELA_RETURN_IF_ERROR(
      ReadAddedTokens(value("added_tokens"), vocab_size, file));
  CHELA_RETURN_IF_ERROR(
      ReadPostProcessor(value("post_processor"), "post_processor", file));
  return file;
}

}  // namespace chela
