#ifndef CHELA_SERVER_TOOLS_BENCH_OUTPUT_H_
#define CHELA_SERVER_TOOLS_BENCH_OUTPUT_H_

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace chela::bench {

// Where results go: a table for people on stdout while it is measured, and one
// JSON object at the end to a file. With the JSON on stdout ("-") the table
// goes to stderr.
class Output {
 public:
  // json: a path, "-", or empty for none.
  explicit Output(std::string json)
      : json_(std::move(json)), table_(json_ == "-" ? stderr : stdout) {}

  // A line of the table.
  void Line(const std::string& text) const;

  // UNAVAILABLE if the file cannot be written.
  absl::Status Write(const nlohmann::json& object) const;

 private:
  std::string json_;
  FILE* table_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_OUTPUT_H_
