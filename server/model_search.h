#ifndef CHELA_SERVER_MODEL_SEARCH_H_
#define CHELA_SERVER_MODEL_SEARCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace chela {

// Where a model is looked for without --model or CHELA_MODEL, in this order:
// <executable_dir>/../share/chela/chela-demo, `source_model` (compiled in),
// ./models/chela-demo.
std::vector<std::string> DefaultModelPlaces(const std::string& executable_dir,
                                            const std::string& source_model);

// The first of `places` that is a folder with a config.json. NOT_FOUND names
// all of them, and $CHELA_MODEL.
absl::StatusOr<std::string> FindModel(const std::vector<std::string>& places);

// The last part of a folder's path, "chela-demo" of "/models/chela-demo/".
std::string BaseName(const std::string& directory);

// The folder of the running program.
std::string ExecutableDirectory();

}  // namespace chela

#endif  // CHELA_SERVER_MODEL_SEARCH_H_
