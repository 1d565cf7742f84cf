#include "models/sentencepiece_tokenizer.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace chela {
namespace {

// Units that one call remembers: enough for the words of a book, and no more
// than some megabytes whatever the text is.
constexpr size_t kMaxRemembered = 65536;
constexpr size_t kMaxRememberedBytes = 64;

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

// The units of one text: looks each up among the pieces, then among those seen
// before in the same text, and asks the library for the rest.
class SentencePieceTokenizer::UnitEncoder {
 public:
  UnitEncoder(const SentencePieceTokenizer& tokenizer,
              std::vector<int32_t>* ids)
      : tokenizer_(tokenizer), ids_(*ids) {}

  // `unit` must live as long as this object.
  void Append(std::string_view unit) {
    if (const auto known = tokenizer_.units_.find(ToAbsl(unit));
        known != tokenizer_.units_.end()) {
      const auto first = tokenizer_.unit_ids_.begin() +
                         static_cast<std::ptrdiff_t>(known->second.begin);
      ids_.insert(ids_.end(), first,
                  first + static_cast<std::ptrdiff_t>(known->second.size));
      return;
    }
    if (const auto seen = seen_.find(ToAbsl(unit)); seen != seen_.end()) {
      // By index: appending may move the ids.
      for (size_t i = 0; i < seen->second.size; ++i) {
        ids_.push_back(ids_[seen->second.begin + i]);
      }
      return;
    }
    const size_t begin = ids_.size();
    tokenizer_.EncodeUnit(unit, &ids_);
    if (unit.size() <= kMaxRememberedBytes && seen_.size() < kMaxRemembered) {
      seen_.emplace(ToAbsl(unit), Range{begin, ids_.size() - begin});
    }
  }

 private:
  const SentencePieceTokenizer& tokenizer_;
  std::vector<int32_t>& ids_;
  absl::flat_hash_map<absl::string_view, Range> seen_;  // ranges of ids_
};

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Create(
    std::string_view bytes, const ModelConfig& config) {
  absl::StatusOr<SentencePieceFile> file = SentencePieceFile::Parse(bytes);
  if (!file.ok()) return file.status();
  if (file->pieces.size() > static_cast<size_t>(config.vocab_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file->pieces.size(), " pieces; want at most vocab_size, ",
                     config.vocab_size));
  }
  std::string error;
  std::unique_ptr<SentencePieceLibrary> library =
      SentencePieceLibrary::Load(file->library_model, &error);
  if (library == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("SentencePiece refuses the model: ", error));
  }
  if (library->unknown_id() < 0) {
    return absl::InvalidArgumentError(
        "the model has no piece of type UNKNOWN; want one");
  }
  return std::unique_ptr<Tokenizer>(
      new SentencePieceTokenizer(config, *std::move(file), std::move(library)));
}

SentencePieceTokenizer::SentencePieceTokenizer(
    const ModelConfig& config, SentencePieceFile file,
    std::unique_ptr<SentencePieceLibrary> library)
    : Tokenizer(config),
      file_(std::move(file)),
      library_(std::move(library)),
      splitter_(file_.byte_fallback) {
  file_.library_model = std::string();  // The library has its own copy.
  FillSurfaces();
  FillUnits();
}

void SentencePieceTokenizer::FillSurfaces() {
  using PieceType = SentencePieceFile::PieceType;
  byte_ids_.fill(library_->unknown_id());
  for (size_t id = 0; id < file_.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file_.pieces[id];
    std::string surface;
    if (piece.has_surface()) {
      splitter_.AddPiece(piece.text);
      surface = absl::StrReplaceAll(piece.text, {{ToAbsl(kSpaceMark), " "}});
    } else if (piece.type == PieceType::kByte) {
      const int byte = ByteOfPiece(piece.text);
      surface.push_back(static_cast<char>(byte));
      if (file_.byte_fallback) {
        byte_ids_[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
      }
    } else if (piece.type == PieceType::kUnknown) {
      surface = file_.unknown_surface;
    }
    surfaces_.push_back(std::move(surface));
  }
}

void SentencePieceTokenizer::FillUnits() {
  for (size_t id = 0; id < file_.pieces.size(); ++id) {
    if (!file_.pieces[id].has_surface()) continue;
    const std::string& text = surfaces_[id];
    const UnitSplitter::Unit unit = splitter_.First(text);
    if (unit.raw || unit.size_bytes != text.size()) continue;
    const size_t begin = unit_ids_.size();
    EncodeUnit(text, &unit_ids_);
    units_.emplace(text, Range{begin, unit_ids_.size() - begin});
  }
}

std::vector<int32_t> SentencePieceTokenizer::Encode(
    std::string_view text) const {
  return EncodeText(text, file_.add_dummy_prefix);
}

std::vector<int32_t> SentencePieceTokenizer::EncodeContinuation(
    std::string_view text) const {
  return EncodeText(text, /*at_start=*/false);
}

std::vector<int32_t> SentencePieceTokenizer::EncodeText(std::string_view text,
                                                        bool at_start) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 16);
  std::string prefixed;  // The first unit behind a dummy prefix.
  UnitEncoder encoder(*this, &ids);
  if (at_start && !text.empty()) {
    prefixed.push_back(' ');
    if (splitter_.JoinsSpace(text)) {
      const size_t size = splitter_.First(text).size_bytes;
      prefixed.append(text.substr(0, size));
      text.remove_prefix(size);
    }
    encoder.Append(prefixed);
  }
  while (!text.empty()) {
    const UnitSplitter::Unit unit = splitter_.First(text);
    if (unit.raw) {
      EncodeRaw(text.substr(0, unit.size_bytes), &ids);
    } else {
      encoder.Append(text.substr(0, unit.size_bytes));
    }
    text.remove_prefix(unit.size_bytes);
  }
  return ids;
}

void SentencePieceTokenizer::EncodeUnit(std::string_view unit,
                                        std::vector<int32_t>* ids) const {
  if (!library_->Encode(unit, ids)) EncodeRaw(unit, ids);
}

void SentencePieceTokenizer::EncodeRaw(std::string_view bytes,
                                       std::vector<int32_t>* ids) const {
  if (!file_.byte_fallback) {
    ids->push_back(library_->unknown_id());
    return;
  }
  for (const char byte : bytes) {
    ids->push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  }
}

size_t SentencePieceTokenizer::StablePrefix(std::string_view text) const {
  size_t stable = 0;
  while (stable < text.size()) {
    const UnitSplitter::Unit unit = splitter_.First(text.substr(stable));
    if (unit.open) break;
    stable += unit.size_bytes;
  }
  return stable;
}

std::string SentencePieceTokenizer::TokenBytes(int32_t id,
                                               bool at_start) const {
  const auto index = static_cast<size_t>(id);
  if (index >= surfaces_.size()) return "";
  const std::string& surface = surfaces_[index];
  const bool dummy = at_start && file_.add_dummy_prefix &&
                     file_.pieces[index].has_surface() &&
                     surface.starts_with(' ');
  return dummy ? surface.substr(1) : surface;
}

std::string SentencePieceTokenizer::TokenName(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  if (index < file_.pieces.size()) return file_.pieces[index].text;
  return absl::StrCat("<unused_", id, ">");
}

}  // namespace chela
