#include "models/json_text.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/mapped_file.h"

namespace chela {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kShownCharacters = 60;

// Looks at every event of the parser before a document is built: the library
// itself would keep the last of two equal keys and say nothing.
class Checker : public nlohmann::json_sax<nlohmann::json> {
 public:
  const std::string& error() const { return error_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override {
    return Value();
  }
  bool string(string_t&) override { return Value(); }
  bool binary(binary_t&) override { return Value(); }
  bool start_object(std::size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Value() && Open(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    error_ = absl::StrCat("key ", Quoted(name), " stands twice");
    return false;
  }
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception&) override {
    error_ = absl::StrCat("not JSON: syntax error at byte ", position,
                          ", near ", Quoted(last_token));
    return false;
  }

 private:
  bool Value() {
    if (!keys_.empty()) return true;
    error_ = "found a JSON value; want an object";
    return false;
  }
  bool Open() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    error_ = absl::StrCat("nested deeper than ", kMaxDepth, " levels");
    return false;
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // one set for each open level
  std::string error_;
};

std::string Cut(std::string text) {
  if (text.size() <= kShownCharacters) return text;
  text.resize(kShownCharacters);
  return absl::StrCat(text, "...");
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text) {
  Checker checker;
  if (!nlohmann::json::sax_parse(text, &checker)) {
    return absl::InvalidArgumentError(checker.error());
  }
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError("found a JSON value; want an object");
  }
  return value;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         size_t max_bytes) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", bytes.size(), " bytes; want at most ", max_bytes));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string Shown(const nlohmann::json& value) {
  return Cut(
      value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

std::string Quoted(std::string_view name) {
  return absl::StrCat("\"",
                      Cut(absl::Utf8SafeCHexEscape(
                          absl::string_view(name.data(), name.size()))),
                      "\"");
}

JsonReader::JsonReader(const nlohmann::json& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

void JsonReader::Fail(const char* key, const std::string& found,
                      const std::string& wanted) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(prefix_, key, ": ", found, "; want ", wanted));
}

bool JsonReader::Has(const char* key) {
  known_.emplace_back(key);
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const nlohmann::json* JsonReader::Find(const char* key, bool has_fallback) {
  known_.emplace_back(key);
  const auto found = object_.find(key);
  if (found != object_.end()) return &*found;
  if (!has_fallback) Fail(key, "missing", "this key");
  return nullptr;
}

int64_t JsonReader::Integer(const char* key, IntegerRange range,
                            std::optional<int64_t> fallback) {
  const int64_t otherwise = fallback.value_or(range.min);
  const nlohmann::json* value = Find(key, fallback.has_value());
  if (value == nullptr) return otherwise;
  const std::string wanted =
      absl::StrCat("an integer in [", range.min, ", ", range.max, "]");
  if (!value->is_number_integer()) {
    Fail(key, Shown(*value), wanted);
    return otherwise;
  }
  // Unsigned values above int64's range would wrap in get<int64_t>().
  const bool too_big =
      value->is_number_unsigned() &&
      value->get<uint64_t>() >
          static_cast<uint64_t>(std::max<int64_t>(range.max, 0));
  const int64_t number = too_big ? 0 : value->get<int64_t>();
  if (too_big || number < range.min || number > range.max) {
    Fail(key, Shown(*value), wanted);
    return otherwise;
  }
  return number;
}

double JsonReader::Number(const char* key, NumberRange range,
                          std::optional<double> fallback) {
  const double otherwise = fallback.value_or(range.min);
  const nlohmann::json* value = Find(key, fallback.has_value());
  if (value == nullptr) return otherwise;
  const double number = value->is_number() ? value->get<double>() : 0;
  const bool inside =
      number <= range.max &&
      (range.open_min ? number > range.min : number >= range.min);
  if (!value->is_number() || !inside) {
    Fail(key, Shown(*value),
         absl::StrCat("a number in ", range.open_min ? "(" : "[", range.min,
                      ", ", range.max, "]"));
    return otherwise;
  }
  return number;
}

bool JsonReader::Boolean(const char* key, std::optional<bool> fallback) {
  const nlohmann::json* value = Find(key, fallback.has_value());
  if (value == nullptr) return fallback.value_or(false);
  if (!value->is_boolean()) {
    Fail(key, Shown(*value), "true or false");
    return fallback.value_or(false);
  }
  return value->get<bool>();
}

size_t JsonReader::Choice(const char* key,
                          const std::vector<std::string>& choices) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (*value == choices[i]) return i;
  }
  Fail(key, Shown(*value),
       absl::StrCat("\"", absl::StrJoin(choices, "\" or \""), "\""));
  return 0;
}

const nlohmann::json* JsonReader::Object(const char* key) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return value;
  Fail(key, Shown(*value), "an object");
  return nullptr;
}

std::vector<std::string> JsonReader::UnknownKeys() const {
  std::vector<std::string> unknown;
  for (const auto& item : object_.items()) {
    if (std::find(known_.begin(), known_.end(), item.key()) == known_.end()) {
      unknown.push_back(absl::StrCat(prefix_, item.key()));
    }
  }
  return unknown;
}

}  // namespace chela
