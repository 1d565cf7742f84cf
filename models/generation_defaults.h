#ifndef CHELA_MODELS_GENERATION_DEFAULTS_H_
#define CHELA_MODELS_GENERATION_DEFAULTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace chela {

// What a checkpoint's optional generation_config.json says about sampling: the
// values that a request without these fields gets. A field that the file does
// not name (or names as null) is absent. Immutable after Parse.
struct GenerationDefaults {
  std::optional<int32_t> max_tokens;  // >= 1; also read as max_new_tokens
  std::optional<int32_t> min_tokens;  // >= 0; also read as min_new_tokens
  std::optional<double> temperature;  // [0, 100]
  std::optional<int32_t> top_k;       // >= 0
  std::optional<double> top_p;        // (0, 1]
  std::optional<double> min_p;        // [0, 1]
  std::optional<double> typical_p;    // (0, 1]
  std::optional<double> repetition_penalty;  // (0, 100]
  std::optional<double> presence_penalty;    // [-2, 2]
  std::optional<double> frequency_penalty;   // [-2, 2]
  std::optional<int32_t> penalty_window;     // >= 1

  // INVALID_ARGUMENT names the key, what it was and what is wanted; also if
  // two names of one field differ.
  static absl::StatusOr<GenerationDefaults> Parse(const std::string& json);
  // From `directory`/generation_config.json; everything absent without one.
  static absl::StatusOr<GenerationDefaults> Load(const std::string& directory);

  std::vector<std::string> unknown_keys;
};

}  // namespace chela

#endif  // CHELA_MODELS_GENERATION_DEFAULTS_H_
