#ifndef CHELA_SERVER_RPC_CONVERT_SAMPLING_H_
#define CHELA_SERVER_RPC_CONVERT_SAMPLING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "chela/v1/generation.pb.h"
#include "server/rpc/convert.h"
#include "server/rpc/status.h"

namespace chela {

// Refuses anything outside [low, high], NaN as well. Returns the value.
template <typename Number>
Number CheckRange(const std::string& path, Number value, Number low,
                  Number high, FieldErrors& errors) {
  if (!(value >= low && value <= high)) {
    errors.Add(path, absl::StrCat(value, "; want ", low, " .. ", high));
  }
  return value;
}

// Reads ids; reports the first wrong one, with the number of wrong ones, and
// more of them than `limit`. `path` is that of the list.
template <typename Ids>
std::vector<int32_t> CheckIds(const Ids& ids, int64_t limit, int32_t vocab_size,
                              const std::string& path, FieldErrors& errors) {
  if (ids.size() > limit) {
    errors.Add(path, absl::StrCat(ids.size(), " tokens; want at most ", limit));
    return {};
  }
  int first_wrong = -1;
  int64_t wrong = 0;
  for (int i = 0; i < ids.size(); ++i) {
    if (ids.Get(i) >= 0 && ids.Get(i) < vocab_size) continue;
    if (wrong++ == 0) first_wrong = i;
  }
  if (wrong == 0) return {ids.begin(), ids.end()};
  errors.Add(absl::StrCat(path, "[", first_wrong, "]"),
             absl::StrCat(ids.Get(first_wrong), "; want 0 .. ", vocab_size - 1,
                          wrong > 1 ? absl::StrCat(" (", wrong - 1,
                                                   " more ids are wrong)")
                                    : ""));
  return {};
}

// Fills in every field of `job` that SamplingParams decides: checked, with the
// checkpoint's defaults and then the API's. Needs job.prompt.
void ToSampling(const v1::SamplingParams& in, const ConvertContext& context,
                GenerateJob& job, FieldErrors& errors);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_CONVERT_SAMPLING_H_
