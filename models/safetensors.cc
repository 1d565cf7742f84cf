#include "models/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is used in place");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own bound
constexpr size_t kMaxRank = 8;
// Above every offset in a file that could be mapped, and far from overflow.
constexpr uint64_t kMaxElements = uint64_t{1} << 58;

struct ElementType {
  std::string_view name;
  uint64_t bytes;
};
constexpr ElementType kElementTypes[] = {
    {"F32", 4},     {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"F8_E4M3", 1},
    {"F8_E5M2", 1}, {"I64", 8},  {"I32", 4}, {"I16", 2}, {"I8", 1},
    {"U64", 8},     {"U32", 4},  {"U16", 2}, {"U8", 1},  {"BOOL", 1}};

// The part of the data that one tensor takes, and its label.
struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
  const std::string* label = nullptr;
};

absl::Status Wrong(const std::string& label, const std::string& field,
                   const std::string& found, const std::string& wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(label, ": ", field, " ", found, "; want ", wanted));
}

absl::Status ReadType(const nlohmann::json& entry, StoredTensor& tensor,
                      uint64_t& element_bytes) {
  const auto found = entry.find("dtype");
  if (found == entry.end()) {
    return Wrong(tensor.label, "dtype", "missing", "a type name");
  }
  for (const ElementType& type : kElementTypes) {
    if (*found != type.name) continue;
    tensor.dtype = std::string(type.name);
    element_bytes = type.bytes;
    return absl::OkStatus();
  }
  return Wrong(tensor.label, "dtype", Shown(*found),
               "a type of the format, such as \"F32\"");
}

absl::Status ReadShape(const nlohmann::json& entry, StoredTensor& tensor,
                       uint64_t& elements) {
  const auto found = entry.find("shape");
  if (found == entry.end() || !found->is_array() || found->size() > kMaxRank) {
    return Wrong(tensor.label, "shape",
                 found == entry.end() ? "missing" : Shown(*found),
                 absl::StrCat("an array of at most ", kMaxRank, " sizes"));
  }
  elements = 1;
  for (const nlohmann::json& size : *found) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > kMaxElements) {
      return Wrong(tensor.label, "shape", Shown(*found),
                   absl::StrCat("sizes in [0, ", kMaxElements, "]"));
    }
    const uint64_t value = size.get<uint64_t>();
    tensor.shape.push_back(static_cast<int64_t>(value));
    if (value != 0 && elements > kMaxElements / value) {
      return Wrong(tensor.label, "shape", Shown(*found),
                   absl::StrCat("at most ", kMaxElements, " elements"));
    }
    elements *= value;
  }
  return absl::OkStatus();
}

absl::Status ReadOffsets(const nlohmann::json& entry, uint64_t data_bytes,
                         const StoredTensor& tensor, Range& range) {
  const auto found = entry.find("data_offsets");
  const bool is_pair = found != entry.end() && found->is_array() &&
                       found->size() == 2 && (*found)[0].is_number_unsigned() &&
                       (*found)[1].is_number_unsigned();
  if (!is_pair) {
    return Wrong(tensor.label, "data_offsets",
                 found == entry.end() ? "missing" : Shown(*found),
                 "[begin, end]");
  }
  range.begin = (*found)[0].get<uint64_t>();
  range.end = (*found)[1].get<uint64_t>();
  if (range.begin > range.end || range.end > data_bytes) {
    return Wrong(tensor.label, "data_offsets", Shown(*found),
                 absl::StrCat("begin <= end <= ", data_bytes,
                              ", the bytes of data in the file"));
  }
  return absl::OkStatus();
}

absl::Status ReadEntry(const nlohmann::json& entry,
                       std::span<const std::byte> data, StoredTensor& tensor,
                       Range& range) {
  if (!entry.is_object()) {
    return Wrong(tensor.label, "entry", Shown(entry),
                 "an object of dtype, shape and data_offsets");
  }
  uint64_t element_bytes = 0;
  uint64_t elements = 0;
  CHELA_RETURN_IF_ERROR(ReadType(entry, tensor, element_bytes));
  CHELA_RETURN_IF_ERROR(ReadShape(entry, tensor, elements));
  CHELA_RETURN_IF_ERROR(ReadOffsets(entry, data.size(), tensor, range));
  if (entry.size() != 3) {
    return Wrong(tensor.label, "entry", Shown(entry),
                 "no keys but dtype, shape and data_offsets");
  }
  const uint64_t bytes = range.end - range.begin;
  if (bytes != elements * element_bytes) {
    return Wrong(
        tensor.label, "data_offsets",
        absl::StrCat("[", range.begin, ", ", range.end, "], ", bytes, " bytes"),
        absl::StrCat(elements * element_bytes, " bytes for ", tensor.dtype, " ",
                     ShapeText(tensor.shape)));
  }
  tensor.data = data.subspan(range.begin, bytes);
  return absl::OkStatus();
}

absl::Status CheckCoverage(std::vector<Range> ranges, uint64_t data_bytes,
                           const std::string& path) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Range& range : ranges) {
    if (range.begin != covered) {
      return Wrong(*range.label, "data_offsets",
                   absl::StrCat("[", range.begin, ", ", range.end, "]"),
                   absl::StrCat("begin ", covered, ", where the data before ",
                                "it ends: no overlaps, no holes"));
    }
    covered = range.end;
  }
  if (covered == data_bytes) return absl::OkStatus();
  return Wrong(path, "data", absl::StrCat("of ", data_bytes, " bytes"),
               absl::StrCat(covered, ", where the last tensor ends"));
}

absl::Status CheckMetadata(const nlohmann::json& metadata,
                           const std::string& path) {
  bool fits = metadata.is_object();
  for (const nlohmann::json& value : metadata) fits &= value.is_string();
  if (fits) return absl::OkStatus();
  return Wrong(path, "__metadata__", Shown(metadata),
               "an object whose values are strings");
}

// The header as JSON; `data` is set to what follows it.
absl::StatusOr<nlohmann::json> ReadHeader(std::span<const std::byte> file,
                                          const std::string& path,
                                          std::span<const std::byte>& data) {
  if (file.size() < kLengthBytes) {
    return Wrong(path, "file", absl::StrCat("of ", file.size(), " bytes"),
                 "at least 8, the length of the header");
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  const uint64_t most =
      std::min<uint64_t>(file.size() - kLengthBytes, kMaxHeaderBytes);
  if (length > most) {
    return Wrong(path, "header", absl::StrCat("of ", length, " bytes"),
                 absl::StrCat("at most ", most));
  }
  const auto header = file.subspan(kLengthBytes, length);
  data = file.subspan(kLengthBytes + length);
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(
      {reinterpret_cast<const char*>(header.data()), header.size()});
  if (!json.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": header: ", json.status().message()));
  }
  return json;
}

}  // namespace

absl::StatusOr<StoredTensorMap> ParseSafetensors(
    std::span<const std::byte> file, const std::string& path) {
  std::span<const std::byte> data;
  const absl::StatusOr<nlohmann::json> header = ReadHeader(file, path, data);
  if (!header.ok()) return header.status();
  StoredTensorMap tensors;
  std::vector<Range> ranges;
  for (const auto& item : header->items()) {
    if (item.key() == "__metadata__") {
      CHELA_RETURN_IF_ERROR(CheckMetadata(item.value(), path));
      continue;
    }
    StoredTensor& tensor = tensors[item.key()];
    tensor.label = absl::StrCat(path, ": tensor ", Quoted(item.key()));
    ranges.push_back({0, 0, &tensor.label});
    CHELA_RETURN_IF_ERROR(ReadEntry(item.value(), data, tensor, ranges.back()));
  }
  CHELA_RETURN_IF_ERROR(CheckCoverage(std::move(ranges), data.size(), path));
  return tensors;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace chela
