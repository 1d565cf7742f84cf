// The parts "model" and "added_tokens" of a tokenizer.json.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/status_macros.h"
#include "models/byte_alphabet.h"
#include "models/tokenizer_json_parts.h"
#include "models/unicode_text.h"
#include "models/utf8.h"

namespace chela {
namespace {

using Json = nlohmann::json;
// The names live in the JSON document.
using Vocabulary = absl::flat_hash_map<absl::string_view, int32_t>;

constexpr size_t kMaxAddedBytes = 512;

std::string IdRange(int32_t vocab_size) {
  return absl::StrCat("an integer in [0, ", vocab_size - 1,
                      "] (vocab_size - 1)");
}

bool IsId(const Json& value, int32_t vocab_size) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() < static_cast<uint64_t>(vocab_size);
}

absl::Status ReadVocabulary(const Json& vocab, int32_t vocab_size,
                            Vocabulary& ids, TokenizerJson& file) {
  ids.reserve(vocab.size());
  for (const auto& [name, value] : vocab.items()) {
    const std::string path = absl::StrCat("model.vocab[", Quoted(name), "]");
    if (!IsId(value, vocab_size)) {
      return WrongValue(path, value, IdRange(vocab_size));
    }
    const auto id = value.get<size_t>();
    if (name.empty()) return WrongValue(path, value, "a token that has text");
    if (id >= file.tokens.size()) file.tokens.resize(id + 1);
    if (!file.tokens[id].empty()) {
      return WrongValue(path, value,
                        absl::StrCat("an id of its own, ",
                                     Quoted(file.tokens[id]), " has it too"));
    }
    file.tokens[id] = name;
    ids.emplace(name, static_cast<int32_t>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name = ByteCharacter(static_cast<uint8_t>(byte));
    const auto found = ids.find(name);
    if (found == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.vocab: no token ", Quoted(name), " for byte ",
                       byte, "; want one for each of the 256 bytes"));
    }
    file.byte_ids[static_cast<size_t>(byte)] = found->second;
  }
  return absl::OkStatus();
}

// Both forms of a merge: "a b" and ["a", "b"]. False if it is neither.
bool SplitMerge(const Json& merge, std::string* left, std::string* right) {
  if (merge.is_array()) {
    if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
      return false;
    }
    *left = merge[0].get<std::string>();
    *right = merge[1].get<std::string>();
    return true;
  }
  if (!merge.is_string()) return false;
  const auto& text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.rfind(' ') != space) return false;
  *left = text.substr(0, space);
  *right = text.substr(space + 1);
  return true;
}

absl::Status ReadMerges(const Json& merges, const Vocabulary& ids,
                        TokenizerJson& file) {
  absl::flat_hash_set<std::pair<int32_t, int32_t>> seen;
  std::string left;
  std::string right;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string path = absl::StrCat("model.merges[", i, "]");
    if (!SplitMerge(merges[i], &left, &right)) {
      return WrongValue(path, merges[i], "\"a b\" or [\"a\", \"b\"]");
    }
    std::array<int32_t, 3> found = {};
    size_t at = 0;
    for (const std::string& name : {left, right, left + right}) {
      const auto id = ids.find(name);
      if (id == ids.end()) {
        return WrongValue(
            path, merges[i],
            absl::StrCat("tokens of model.vocab, ", Quoted(name), " is none"));
      }
      found[at++] = id->second;
    }
    if (!seen.emplace(found[0], found[1]).second) {
      return WrongValue(path, merges[i], "each pair once");
    }
    file.merges.push_back({found[0], found[1], found[2]});
  }
  return absl::OkStatus();
}

// A key that must be missing, null or `without`.
void CheckOff(JsonReader& reader, const Json& json, const char* key,
              const Json& without) {
  if (!reader.Has(key) || json[key] == without) return;
  reader.Fail(key, Shown(json[key]), absl::StrCat("null or ", without.dump()));
}

absl::Status ReadAddedToken(const Json& json, const std::string& path,
                            AddedToken& token) {
  if (!json.is_object()) return WrongValue(path, json, "an object");
  JsonReader reader(json, path + ".");
  token.id = reader.Int32("id", {0, INT32_MAX});
  token.single_word = reader.Boolean("single_word", false);
  token.lstrip = reader.Boolean("lstrip", false);
  token.rstrip = reader.Boolean("rstrip", false);
  token.special = reader.Boolean("special", false);
  token.normalized = reader.Boolean("normalized", !token.special);
  if (!reader.Has("content") || !json["content"].is_string() ||
      json["content"] == "" ||
      json["content"].get_ref<const std::string&>().size() > kMaxAddedBytes) {
    reader.Fail("content", Shown(json.value("content", Json())),
                absl::StrCat("a text of 1 to ", kMaxAddedBytes, " bytes"));
  }
  CHELA_RETURN_IF_ERROR(reader.status());
  token.content = json["content"].get<std::string>();
  return RefuseUnknownKeys(reader);
}

// With `rstrip` beside it, a token that begins with white space would be found
// inside what the other has taken.
absl::Status CheckStrips(const TokenizerJson& file) {
  const auto& tokens = file.added_tokens;
  const bool rstrip = std::any_of(tokens.begin(), tokens.end(),
                                  [](const auto& t) { return t.rstrip; });
  for (size_t i = 0; rstrip && i < tokens.size(); ++i) {
    if (IsWhiteSpace(NextUtf8(tokens[i].content).code_point)) {
      return WrongValue(absl::StrCat("added_tokens[", i, "].content"),
                        tokens[i].content,
                        "no white space in front beside a token with rstrip");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadModel(const Json& json, int32_t vocab_size,
                       TokenizerJson& file) {
  JsonReader reader(json, "model.");
  // GPT-2's own file has no "type".
  if (reader.Has("type")) reader.Choice("type", {"BPE"});
  for (const char* key : {"unk_token", "fuse_unk", "byte_fallback"}) {
    reader.Has(key);  // Nothing is unknown.
  }
  CheckOff(reader, json, "dropout", 0.0);
  CheckOff(reader, json, "continuing_subword_prefix", "");
  CheckOff(reader, json, "end_of_word_suffix", "");
  if (reader.Has("ignore_merges")) {
    file.ignore_merges = reader.Boolean("ignore_merges");
  }
  const Json* vocab = reader.Object("vocab");
  if (!reader.Has("merges") || !json["merges"].is_array()) {
    reader.Fail("merges", Shown(json.value("merges", Json())), "a list");
  }
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(RefuseUnknownKeys(reader));
  Vocabulary ids;
  CHELA_RETURN_IF_ERROR(ReadVocabulary(*vocab, vocab_size, ids, file));
  return ReadMerges(json["merges"], ids, file);
}

absl::Status ReadAddedTokens(const Json& json, int32_t vocab_size,
                             TokenizerJson& file) {
  if (json.is_null()) return absl::OkStatus();
  if (!json.is_array()) return WrongValue("added_tokens", json, "a list");
  absl::flat_hash_map<std::string, int32_t> known;
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    known.emplace(file.tokens[id], static_cast<int32_t>(id));
  }
  known.erase("");
  // The library gives a new token the next id behind the vocabulary and the
  // tokens added before it, whatever the file says.
  auto next = static_cast<int64_t>(known.size());
  absl::flat_hash_set<std::string> seen;
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string path = absl::StrCat("added_tokens[", i, "]");
    AddedToken token;
    CHELA_RETURN_IF_ERROR(ReadAddedToken(json[i], path, token));
    if (!seen.insert(token.content).second) {
      return WrongValue(path + ".content", token.content, "each text once");
    }
    const auto same = known.find(token.content);
    const int64_t id = same == known.end() ? next : same->second;
    if (token.id != id) {
      return WrongValue(
          path + ".id", token.id,
          absl::StrCat(id, same == known.end()
                               ? ", the next id behind the vocabulary"
                               : ", as in model.vocab"));
    }
    if (id >= vocab_size) {
      return WrongValue(path + ".id", token.id, IdRange(vocab_size));
    }
    const auto index = static_cast<size_t>(id);
    if (same == known.end() && index < file.tokens.size() &&
        !file.tokens[index].empty()) {
      return WrongValue(path + ".id", token.id,
                        "an id that model.vocab has not");
    }
    next = std::max(next, id + 1);
    const std::optional<std::string> bytes = BytesOfToken(token.content);
    if (same != known.end() && bytes.value_or(token.content) != token.content) {
      return WrongValue(
          path + ".content", token.content,
          "no token of model.vocab that stands for other bytes there");
    }
    file.added_tokens.push_back(std::move(token));
  }
  return CheckStrips(file);
}

}  // namespace chela
