#ifndef CHELA_MODELS_TOKENIZER_JSON_PARTS_H_
#define CHELA_MODELS_TOKENIZER_JSON_PARTS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/json_text.h"
#include "models/tokenizer_json.h"

namespace chela {

// Readers of the parts of a tokenizer.json, for TokenizerJson::Parse. All
// errors are INVALID_ARGUMENT, "key: what was found; want ...".

// The part "model".
absl::Status ReadModel(const nlohmann::json& json, int32_t vocab_size,
                       TokenizerJson& file);
// The part "added_tokens", after the model.
absl::Status ReadAddedTokens(const nlohmann::json& json, int32_t vocab_size,
                             TokenizerJson& file);
// The part "post_processor" or a part of it, found at `path`.
absl::Status ReadPostProcessor(const nlohmann::json& json,
                               const std::string& path, TokenizerJson& file);

// The error for `found` at `path`.
absl::Status WrongValue(const std::string& path, const nlohmann::json& found,
                        const std::string& wanted);
// The error for the first key of the reader's object that nobody asked for.
absl::Status RefuseUnknownKeys(const JsonReader& reader);
// The string under "type"; empty if there is none.
std::string TypeOf(const nlohmann::json& json);
// The list under `key` of a Sequence, whose other key is "type".
absl::StatusOr<const nlohmann::json*> ReadSequence(const nlohmann::json& json,
                                                   const std::string& path,
                                                   const char* key);

}  // namespace chela

#endif  // CHELA_MODELS_TOKENIZER_JSON_PARTS_H_
