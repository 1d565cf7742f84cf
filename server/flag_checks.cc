#include "server/flag_checks.h"

namespace chela {

CLI::Validator Store(std::function<absl::Status(const std::string&)> store) {
  return CLI::Validator(
      [store = std::move(store)](std::string& text) {
        return std::string(store(text).message());
      },
      "");
}

CLI::Validator OffOrNumber(int64_t low, int64_t high, int32_t* out) {
  return Store([low, high, out](const std::string& text) {
    int32_t value = 0;
    if (text != "off" &&
        (!absl::SimpleAtoi(text, &value) || value < low || value > high)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\"; want off or a whole number, ", low, " .. ", high));
    }
    *out = value;
    return absl::OkStatus();
  });
}

CLI::Validator AutoOrNumber(int64_t high, int64_t* out) {
  return Store([high, out](const std::string& text) {
    int64_t value = -1;
    if (text != "auto" &&
        (!absl::SimpleAtoi(text, &value) || value < 0 || value > high)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\"; want auto or a whole number, 0 .. ", high));
    }
    *out = value;
    return absl::OkStatus();
  });
}

CLI::Validator ListenAddress(Address* out) {
  return Store([out](const std::string& text) {
    absl::StatusOr<Address> address = Address::Parse(text);
    if (address.ok()) *out = *std::move(address);
    return address.status();
  });
}

CLI::Validator Duration(std::chrono::milliseconds* out) {
  return Store([out](const std::string& text) {
    const absl::StatusOr<std::chrono::milliseconds> value = ParseDuration(text);
    if (value.ok()) *out = *value;
    return value.status();
  });
}

}  // namespace chela
