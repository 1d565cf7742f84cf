#ifndef CHELA_SERVER_FLAG_CHECKS_H_
#define CHELA_SERVER_FLAG_CHECKS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/server_config.h"

namespace chela {

// Checks of flags that also store: CLI11 calls one with the value's text, and
// reports what it returns after the flag's name.
CLI::Validator Store(std::function<absl::Status(const std::string&)> store);

template <typename Number>
CLI::Validator WholeNumber(int64_t low, int64_t high, Number* out) {
  return Store([low, high, out](const std::string& text) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\"; want a whole number, ", low, " .. ", high));
    }
    *out = static_cast<Number>(value);
    return absl::OkStatus();
  });
}

// "off" is stored as 0.
CLI::Validator OffOrNumber(int64_t low, int64_t high, int32_t* out);

// "auto" is stored as -1.
CLI::Validator AutoOrNumber(int64_t high, int64_t* out);

template <typename Choice>
CLI::Validator OneOf(std::map<std::string, Choice> choices, Choice* out) {
  return Store([choices = std::move(choices), out](const std::string& text) {
    const auto found = choices.find(text);
    if (found != choices.end()) {
      *out = found->second;
      return absl::OkStatus();
    }
    std::string names;
    for (const auto& [name, choice] : choices) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", name);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\"; want one of ", names));
  });
}

CLI::Validator ListenAddress(Address* out);
CLI::Validator Duration(std::chrono::milliseconds* out);

}  // namespace chela

#endif  // CHELA_SERVER_FLAG_CHECKS_H_
