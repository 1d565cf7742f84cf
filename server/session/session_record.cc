#include "server/session/session_record.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

using nlohmann::json;

constexpr int64_t kRecordVersion = 1;
constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 2;
constexpr size_t kMaxNameBytes = 64;

json StateToJson(const KeptState& state) {
  return {{"key", state.key},
          {"tokens", state.tokens},
          {"token_hash", absl::StrFormat("%016x", state.token_hash)},
          {"bytes", state.bytes}};
}

std::string ReadText(const json& object, const char* key, JsonReader& reader) {
  const json* const value = reader.Has(key) ? &object[key] : nullptr;
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  reader.Fail(key, value == nullptr ? "missing" : Shown(*value), "a string");
  return "";
}

KeptState ReadState(const json& object, int64_t next_key, JsonReader& reader) {
  KeptState state;
  state.key = reader.Integer("key", {0, next_key - 1});
  state.tokens = reader.Integer("tokens", {0, kMost});
  state.bytes = reader.Integer("bytes", {0, kMost});
  const std::string hash = ReadText(object, "token_hash", reader);
  const auto [end, error] = std::from_chars(
      hash.data(), hash.data() + hash.size(), state.token_hash, 16);
  if (error != std::errc() || end != hash.data() + hash.size()) {
    reader.Fail("token_hash", Quoted(hash), "16 hexadecimal digits");
  }
  return state;
}

// The objects of an array under `key`.
absl::StatusOr<std::vector<json>> ReadObjects(const json& object,
                                              const char* key) {
  const auto found = object.find(key);
  std::vector<json> objects;
  if (found != object.end() && found->is_array()) {
    objects.assign(found->begin(), found->end());
    bool all = true;
    for (const json& item : objects) all = all && item.is_object();
    if (all) return objects;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", key, "\": want an array of objects"));
}

absl::Status ReadRevisions(const json& object, SessionRecord& record) {
  const absl::StatusOr<std::vector<json>> items =
      ReadObjects(object, "revisions");
  if (!items.ok()) return items.status();
  if (items->empty() || items->size() > kMaxKeptRevisions) {
    return absl::InvalidArgumentError(absl::StrCat(
        items->size(), " revisions; want 1 to ", kMaxKeptRevisions));
  }
  int64_t below = record.next_revision;
  for (const json& item : *items) {
    JsonReader reader(item, "revisions.");
    SessionRecord::Revision revision;
    revision.number = reader.Integer("revision", {0, below - 1});
    revision.state = ReadState(item, record.next_key, reader);
    CHELA_RETURN_IF_ERROR(reader.status());
    below = revision.number;
    record.revisions.push_back(revision);
  }
  return absl::OkStatus();
}

absl::Status ReadCheckpoints(const json& object, SessionRecord& record) {
  const absl::StatusOr<std::vector<json>> items =
      ReadObjects(object, "checkpoints");
  if (!items.ok()) return items.status();
  for (const json& item : *items) {
    JsonReader reader(item, "checkpoints.");
    const std::string name = ReadText(item, "name", reader);
    const KeptState state = ReadState(item, record.next_key, reader);
    CHELA_RETURN_IF_ERROR(reader.status());
    CHELA_RETURN_IF_ERROR(CheckName("checkpoint", name));
    record.checkpoints[name] = state;
  }
  return absl::OkStatus();
}

absl::StatusOr<SessionRecord> Parse(std::string_view text,
                                    std::string_view id) {
  const absl::StatusOr<json> object = ParseJsonObject(text);
  if (!object.ok()) return object.status();
  JsonReader reader(*object);
  reader.Integer("version", {kRecordVersion, kRecordVersion});
  SessionRecord record;
  record.id = ReadText(*object, "id", reader);
  if (record.id != id) reader.Fail("id", Quoted(record.id), Quoted(id));
  record.user = ReadText(*object, "user", reader);
  record.ttl_seconds = reader.Integer("ttl_seconds", {0, kMaxTtlSeconds});
  record.created_ms = reader.Integer("created_ms", {0, kMost});
  record.used_ms = reader.Integer("used_ms", {0, kMost});
  record.next_revision = reader.Integer("next_revision", {1, kMost});
  record.next_key = reader.Integer("next_key", {1, kMost});
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(ReadRevisions(*object, record));
  CHELA_RETURN_IF_ERROR(ReadCheckpoints(*object, record));
  return record;
}

}  // namespace

std::set<int64_t> SessionRecord::Keys() const {
  std::set<int64_t> keys;
  for (const Revision& revision : revisions) keys.insert(revision.state.key);
  for (const auto& [name, state] : checkpoints) keys.insert(state.key);
  keys.erase(0);
  return keys;
}

std::string SessionRecord::ToJson() const {
  json revision_list = json::array();
  for (const Revision& revision : revisions) {
    json item = StateToJson(revision.state);
    item["revision"] = revision.number;
    revision_list.push_back(std::move(item));
  }
  json checkpoint_list = json::array();
  for (const auto& [name, state] : checkpoints) {
    json item = StateToJson(state);
    item["name"] = name;
    checkpoint_list.push_back(std::move(item));
  }
  const json object = {{"version", kRecordVersion},
                       {"id", id},
                       {"user", user},
                       {"ttl_seconds", ttl_seconds},
                       {"created_ms", created_ms},
                       {"used_ms", used_ms},
                       {"next_revision", next_revision},
                       {"next_key", next_key},
                       {"revisions", std::move(revision_list)},
                       {"checkpoints", std::move(checkpoint_list)}};
  // Never throws: broken UTF-8 would, and becomes U+FFFD.
  return object.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<SessionRecord> ParseSessionRecord(std::string_view text,
                                                 std::string_view id) {
  absl::StatusOr<SessionRecord> record = Parse(text, id);
  if (record.ok()) return record;
  return absl::DataLossError(absl::StrCat("the record of session ", Quoted(id),
                                          ": ", record.status().message()));
}

absl::Status CheckName(std::string_view what, std::string_view name) {
  bool valid = !name.empty() && name.size() <= kMaxNameBytes;
  for (const char c : name) {
    valid =
        valid && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                  (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-');
  }
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      absl::string_view(what.data(), what.size()), ": ", Quoted(name),
      "; want 1 to ", kMaxNameBytes, " of [A-Za-z0-9._-]"));
}

}  // namespace chela
