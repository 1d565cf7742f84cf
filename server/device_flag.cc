#include "server/device_flag.h"

#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace chela {
namespace {

constexpr absl::string_view kCuda = "cuda:";

// "0,2,1" of "cuda:0,2,1"; each number once.
absl::StatusOr<std::vector<int32_t>> DeviceNumbers(const std::string& text) {
  std::vector<int32_t> numbers;
  for (const absl::string_view one : absl::StrSplit(text, ',')) {
    int32_t number = 0;
    const bool digits = !one.empty() && one.size() <= 3 &&
                        absl::c_all_of(one, absl::ascii_isdigit);
    if (!digits || !absl::SimpleAtoi(one, &number)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"cuda:", text, "\": found \"", one,
                       "\"; want device numbers, like cuda:0 or cuda:0,1"));
    }
    if (absl::c_linear_search(numbers, number)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"cuda:", text, "\" names device ", number,
                       " twice; want each device once"));
    }
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

absl::Status ParseDevice(const std::string& text, ServerConfig* config) {
  config->device_numbers = {0};
  if (text == "auto" || text == "cpu" || text == "cuda") {
    config->device = text == "auto"  ? DeviceChoice::kAuto
                     : text == "cpu" ? DeviceChoice::kCpu
                                     : DeviceChoice::kCuda;
    return absl::OkStatus();
  }
  if (!absl::StartsWith(text, kCuda)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\"; want auto, cpu, cuda, cuda:N or cuda:N,M..."));
  }
  absl::StatusOr<std::vector<int32_t>> numbers =
      DeviceNumbers(text.substr(kCuda.size()));
  if (!numbers.ok()) return numbers.status();
  config->device = DeviceChoice::kCuda;
  config->device_numbers = *std::move(numbers);
  return absl::OkStatus();
}

}  // namespace chela
