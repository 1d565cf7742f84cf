#include "models/sentencepiece_file.h"

#include <bit>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/utf8.h"
#include "models/wire_reader.h"

namespace chela {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint32_t kModelPieces = 1;
constexpr uint32_t kModelTrainerSpec = 2;
constexpr uint32_t kModelNormalizerSpec = 3;
constexpr uint32_t kPieceText = 1;
constexpr uint32_t kPieceScore = 2;
constexpr uint32_t kPieceType = 3;
constexpr uint32_t kTrainerModelType = 3;
constexpr uint32_t kTrainerWhitespaceSuffix = 24;
constexpr uint32_t kTrainerByteFallback = 35;
constexpr uint32_t kTrainerUnknownSurface = 44;
constexpr uint32_t kNormalizerCharsmap = 2;
constexpr uint32_t kNormalizerDummyPrefix = 3;
constexpr uint32_t kNormalizerExtraWhitespace = 4;
constexpr uint32_t kNormalizerEscape = 5;

constexpr uint64_t kUnigram = 1;
constexpr uint64_t kBpe = 2;

// A NormalizerSpec as a field of ModelProto: add_dummy_prefix = false,
// remove_extra_whitespaces = false, escape_whitespaces = true.
constexpr std::string_view kPlainNormalizer("\x1A\x06\x18\0\x20\0\x28\x01", 8);

absl::Status Malformed(std::string_view what, size_t position) {
  return absl::InvalidArgumentError(
      absl::StrCat("a broken SentencePiece model: ",
                   absl::string_view(what.data(), what.size()),
                   " is malformed after ", position, " bytes"));
}

std::string Quoted(std::string_view text) {
  return absl::StrCat(
      "\"", absl::CHexEscape(absl::string_view(text.data(), text.size())),
      "\"");
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (step.kind != Utf8Kind::kCharacter) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

absl::Status CheckPiece(const SentencePieceFile::Piece& piece, size_t id) {
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("piece ", id, " ", Quoted(piece.text), ": ", what));
  };
  if (piece.text.empty()) return wrong("is empty; want text");
  if (piece.text.find('\0') != std::string::npos) {
    return wrong("holds a NUL; want it as the byte piece <0x00>");
  }
  if (piece.type == SentencePieceFile::PieceType::kByte &&
      ByteOfPiece(piece.text) < 0) {
    return wrong("is of type BYTE; want <0x00> to <0xFF>");
  }
  if (!piece.has_surface()) return absl::OkStatus();
  if (!IsValidUtf8(piece.text)) return wrong("is no valid UTF-8");
  if (piece.text.find(' ') != std::string::npos) {
    return wrong("holds a space; want U+2581 for it");
  }
  return absl::OkStatus();
}

absl::Status ReadPiece(std::string_view bytes, SentencePieceFile* file) {
  const size_t id = file->pieces.size();
  SentencePieceFile::Piece piece;
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.number == kPieceText && field.type == 2) {
      piece.text = std::string(field.bytes);
    } else if (field.number == kPieceScore && field.type == 5) {
      const auto bits = static_cast<uint32_t>(field.value);
      if (!std::isfinite(std::bit_cast<float>(bits))) {
        return absl::InvalidArgumentError(
            absl::StrCat("piece ", id, ": its score is not finite"));
      }
    } else if (field.number == kPieceType && field.type == 0) {
      if (field.value < 1 || field.value > 6) {
        return absl::InvalidArgumentError(absl::StrCat(
            "piece ", id, ": type ", field.value, "; want 1 to 6"));
      }
      piece.type = static_cast<SentencePieceFile::PieceType>(field.value);
    }
  }
  if (reader.malformed()) {
    return Malformed(absl::StrCat("piece ", id), reader.position());
  }
  CHELA_RETURN_IF_ERROR(CheckPiece(piece, id));
  file->pieces.push_back(std::move(piece));
  return absl::OkStatus();
}

absl::Status ReadTrainerSpec(std::string_view bytes, SentencePieceFile* file) {
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.number == kTrainerModelType && field.value != kUnigram &&
        field.value != kBpe) {
      return absl::InvalidArgumentError(
          absl::StrCat("trainer_spec.model_type: ", field.value, "; want ",
                       kUnigram, " (unigram) or ", kBpe, " (BPE)"));
    }
    if (field.number == kTrainerWhitespaceSuffix && field.value != 0) {
      return absl::InvalidArgumentError(
          "trainer_spec.treat_whitespace_as_suffix: true; want false");
    }
    if (field.number == kTrainerByteFallback) {
      file->byte_fallback = field.value != 0;
    }
    if (field.number == kTrainerUnknownSurface && field.type == 2) {
      file->unknown_surface = ToValidUtf8(field.bytes);
    }
  }
  if (!reader.malformed()) return absl::OkStatus();
  return Malformed("trainer_spec", reader.position());
}

struct NormalizerFlags {
  bool rewrites = false;
  bool removes_whitespace = true;
  bool escapes = true;
};

absl::Status ReadNormalizerSpec(std::string_view bytes, SentencePieceFile* file,
                                NormalizerFlags* flags) {
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.number == kNormalizerCharsmap) {
      flags->rewrites = !field.bytes.empty();
    } else if (field.number == kNormalizerDummyPrefix) {
      file->add_dummy_prefix = field.value != 0;
    } else if (field.number == kNormalizerExtraWhitespace) {
      flags->removes_whitespace = field.value != 0;
    } else if (field.number == kNormalizerEscape) {
      flags->escapes = field.value != 0;
    }
  }
  if (!reader.malformed()) return absl::OkStatus();
  return Malformed("normalizer_spec", reader.position());
}

absl::Status CheckLossless(const NormalizerFlags& flags) {
  if (flags.rewrites) {
    return absl::InvalidArgumentError(
        "normalizer_spec.precompiled_charsmap: the model rewrites its text; "
        "want one trained with --normalization_rule_name=identity");
  }
  if (flags.removes_whitespace) {
    return absl::InvalidArgumentError(
        "normalizer_spec.remove_extra_whitespaces: true; want a model trained "
        "with --remove_extra_whitespaces=false");
  }
  if (!flags.escapes) {
    return absl::InvalidArgumentError(
        "normalizer_spec.escape_whitespaces: false; want true");
  }
  return absl::OkStatus();
}

absl::Status CheckBytePieces(const SentencePieceFile& file) {
  if (!file.byte_fallback) return absl::OkStatus();
  std::vector<bool> found(256, false);
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type == SentencePieceFile::PieceType::kByte) {
      found[static_cast<size_t>(ByteOfPiece(piece.text))] = true;
    }
  }
  for (size_t byte = 0; byte < found.size(); ++byte) {
    if (found[byte]) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "trainer_spec.byte_fallback: true, but there is no piece <0x",
        absl::Hex(byte, absl::kZeroPad2), ">; want all 256"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SentencePieceFile> SentencePieceFile::Parse(
    std::string_view bytes) {
  SentencePieceFile file;
  NormalizerFlags flags;
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.type != 2) continue;
    if (field.number == kModelPieces) {
      CHELA_RETURN_IF_ERROR(ReadPiece(field.bytes, &file));
      file.library_model.append(field.whole);
    } else if (field.number == kModelTrainerSpec) {
      CHELA_RETURN_IF_ERROR(ReadTrainerSpec(field.bytes, &file));
      file.library_model.append(field.whole);
    } else if (field.number == kModelNormalizerSpec) {
      CHELA_RETURN_IF_ERROR(ReadNormalizerSpec(field.bytes, &file, &flags));
    }
  }
  if (reader.malformed()) return Malformed("the file", reader.position());
  if (file.pieces.empty()) {
    return absl::InvalidArgumentError(
        "the model has 0 pieces; want at least 1");
  }
  CHELA_RETURN_IF_ERROR(CheckLossless(flags));
  CHELA_RETURN_IF_ERROR(CheckBytePieces(file));
  file.library_model.append(kPlainNormalizer);
  return file;
}

int ByteOfPiece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') {
    return -1;
  }
  int byte = 0;
  for (const char digit : piece.substr(3, 2)) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && !(digit >= 'A' && digit <= 'F')) return -1;
    byte = byte * 16 + (decimal ? digit - '0' : digit - 'A' + 10);
  }
  return byte;
}

}  // namespace chela
