#ifndef CHELA_MODELS_JSON_TEXT_H_
#define CHELA_MODELS_JSON_TEXT_H_

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela {

// The object that `text` (strict JSON, UTF-8) holds. INVALID_ARGUMENT, in one
// line, with the place of a syntax error, for a key that stands twice in one
// object, nesting deeper than 32 levels, and for anything but an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// The bytes of a small file. NOT_FOUND if there is none, INVALID_ARGUMENT if it
// is no regular file or above max_bytes, UNAVAILABLE if it cannot be read.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         size_t max_bytes);

// A value as it may stand in a one-line message: cut after 60 characters.
std::string Shown(const nlohmann::json& value);
// A name from a file as it may stand in a message: quoted, escaped, cut.
std::string Quoted(std::string_view name);

// Reads the keys of one JSON object, checks type and range of each, and keeps
// the first error (INVALID_ARGUMENT: the key, what it was, what is wanted).
// After an error every read gives the lower bound, the first choice or the
// fallback, so that a caller checks status() once, at the end. Without a
// fallback a key is required. Owned by one thread; must not outlive `object`.
class JsonReader {
 public:
  // prefix: put before each key in messages ("long_conv.").
  explicit JsonReader(const nlohmann::json& object, std::string prefix = "");

  struct IntegerRange {
    int64_t min = 0;
    int64_t max = std::numeric_limits<int32_t>::max();
  };
  struct NumberRange {
    double min = 0;  // inclusive, as max
    double max = 0;
    bool open_min = false;  // min itself is refused
  };
  int64_t Integer(const char* key, IntegerRange range,
                  std::optional<int64_t> fallback = std::nullopt);
  int32_t Int32(const char* key, IntegerRange range,
                std::optional<int64_t> fallback = std::nullopt) {
    return static_cast<int32_t>(Integer(key, range, fallback));
  }
  double Number(const char* key, NumberRange range,
                std::optional<double> fallback = std::nullopt);
  bool Boolean(const char* key, std::optional<bool> fallback = std::nullopt);
  // The index of the string in `choices`.
  size_t Choice(const char* key, const std::vector<std::string>& choices);
  // The object under `key`, null after an error.
  const nlohmann::json* Object(const char* key);
  // Whether the key stands here with a value other than null; it counts as
  // known from then on.
  bool Has(const char* key);

  // Records the first error; `key` without the prefix.
  void Fail(const char* key, const std::string& found,
            const std::string& wanted);
  const absl::Status& status() const { return status_; }
  // With the prefix: the keys that were never asked for.
  std::vector<std::string> UnknownKeys() const;

 private:
  // Null if the key is missing (an error unless has_fallback).
  const nlohmann::json* Find(const char* key, bool has_fallback);

  const nlohmann::json& object_;
  std::string prefix_;
  std::vector<std::string> known_;
  absl::Status status_;
};

}  // namespace chela

#endif  // CHELA_MODELS_JSON_TEXT_H_
