#include "server/tools/bench/output.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"

namespace chela::bench {

void Output::Line(const std::string& text) const {
  std::fprintf(table_, "%s\n", text.c_str());
  std::fflush(table_);
}

absl::Status Output::Write(const nlohmann::json& object) const {
  if (json_.empty()) return absl::OkStatus();
  const std::string text =
      object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  if (json_ == "-") {
    std::cout << text << std::endl;
    return std::cout ? absl::OkStatus()
                     : absl::UnavailableError("stdout: cannot write");
  }
  std::ofstream file(json_);
  file << text << '\n';
  file.close();
  if (!file) {
    return absl::UnavailableError(
        absl::StrCat(json_, ": cannot write: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace chela::bench
