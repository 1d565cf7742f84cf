#ifndef CHELA_SERVER_TOOLS_STATE_FILE_H_
#define CHELA_SERVER_TOOLS_STATE_FILE_H_

#include <string>
#include <string_view>

namespace chela {

// Reads a whole file; if it can't, says so on stderr.
[[nodiscard]] bool ReadFile(const std::string& path, std::string* bytes);

// Writes a whole file or, with a line on stderr, none: what is there stays
// until the new one is complete. Only its owner may read it, since a state
// tells of its text.
[[nodiscard]] bool WriteFile(const std::string& path, std::string_view bytes);

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_STATE_FILE_H_
