#include "models/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>

#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A file of this header (any text) and so many bytes of data.
std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data_bytes, '\x01');
}

absl::StatusOr<StoredTensorMap> Parse(const std::string& file) {
  return ParseSafetensors(std::as_bytes(std::span(file)), "m.safetensors");
}

std::string FileRefusal(const std::string& file) {
  const auto parsed = Parse(file);
  if (parsed.ok()) return "accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  const std::string message(parsed.status().message());
  EXPECT_THAT(message, StartsWith("m.safetensors: "));
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

// Two F32 tensors a [2] and b [1], 12 bytes.
std::string Entry(const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return R"({"dtype":)" + dtype + R"(,"shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}";
}
std::string Two(const std::string& second) {
  return R"({"a":)" + Entry(R"("F32")", "[2]", "[0,8]") + R"(,"b":)" + second +
         "}";
}

TEST(Safetensors, ReadsTensorsInAnyOrder) {
  const std::string file = test_support::SafetensorsBytes(
      {{"z", "F32", {1, 2}, std::string(8, 'z')},
       {"a", "BF16", {3}, std::string(6, 'a')},
       {"scalar", "I64", {}, std::string(8, 's')},
       {"empty", "F16", {0, 7}, ""}});

  const auto parsed = Parse(file);

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 4u);
  const StoredTensor& a = parsed->at("a");
  EXPECT_EQ(a.dtype, "BF16");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{3}));
  EXPECT_EQ(a.data.size(), 6u);
  EXPECT_EQ(static_cast<char>(a.data[5]), 'a');
  EXPECT_EQ(static_cast<char>(parsed->at("z").data[0]), 'z');
  EXPECT_EQ(parsed->at("scalar").data.size(), 8u);
  EXPECT_EQ(parsed->at("empty").data.size(), 0u);
}

TEST(Safetensors, AcceptsAFileWithoutTensors) {
  EXPECT_EQ(FileRefusal(File("{}", 0)), "accepted");
  EXPECT_EQ(FileRefusal(File("{}  \n ", 0)), "accepted");
}

TEST(Safetensors, RefusesAFileWithoutALength) {
  EXPECT_THAT(FileRefusal(""), HasSubstr("file of 0 bytes; want at least 8"));
  EXPECT_THAT(FileRefusal("1234567"), HasSubstr("file of 7 bytes"));
}

TEST(Safetensors, RefusesAHeaderBeyondTheFile) {
  std::string file = File("{}", 0);
  file[0] = 3;
  EXPECT_THAT(FileRefusal(file),
              HasSubstr("header of 3 bytes; want at most 2"));
  file.replace(0, 8, 8, '\xff');
  EXPECT_THAT(FileRefusal(file), HasSubstr("18446744073709551615 bytes; want"));
}

TEST(Safetensors, RefusesAHeaderThatIsNoJsonObject) {
  EXPECT_THAT(FileRefusal(File("{", 0)), HasSubstr("header: not JSON"));
  EXPECT_THAT(FileRefusal(File("", 0)), HasSubstr("header: not JSON"));
  EXPECT_THAT(FileRefusal(File("[]", 0)), HasSubstr("want an object"));
}

TEST(Safetensors, RefusesANameThatStandsTwice) {
  const std::string entry = Entry(R"("F32")", "[2]", "[0,8]");
  EXPECT_THAT(
      FileRefusal(File(R"({"a":)" + entry + R"(,"a":)" + entry + "}", 8)),
      HasSubstr("header: key \"a\" stands twice"));
}

TEST(Safetensors, RefusesABrokenEntry) {
  EXPECT_THAT(FileRefusal(File(Two("5"), 8)),
              HasSubstr("tensor \"b\": entry 5; want an object"));
  EXPECT_THAT(FileRefusal(File(Two(R"({"dtype":"F32","shape":[1]})"), 12)),
              HasSubstr("tensor \"b\": data_offsets missing"));
  EXPECT_THAT(
      FileRefusal(File(Two(R"({"dtype":"F32","data_offsets":[8,12]})"), 12)),
      HasSubstr("tensor \"b\": shape missing"));
  EXPECT_THAT(
      FileRefusal(File(Two(R"({"shape":[1],"data_offsets":[8,12]})"), 12)),
      HasSubstr("tensor \"b\": dtype missing"));
  EXPECT_THAT(
      FileRefusal(File(
          Two(R"({"dtype":"F32","shape":[1],"data_offsets":[8,12],"x":1})"),
          12)),
      HasSubstr("want no keys but dtype, shape and data_offsets"));
}

TEST(Safetensors, RefusesATypeTheFormatDoesNotKnow) {
  EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F31")", "[1]", "[8,12]")), 12)),
              HasSubstr("tensor \"b\": dtype \"F31\"; want a type"));
  EXPECT_THAT(FileRefusal(File(Two(Entry("32", "[1]", "[8,12]")), 12)),
              HasSubstr("tensor \"b\": dtype 32; want a type"));
}

TEST(Safetensors, RefusesAShapeThatIsNone) {
  for (const char* shape : {"1", "[-1]", "[1.0]", "[\"1\"]", "[[1]]", "null",
                            "[1,1,1,1,1,1,1,1,1]"}) {
    EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", shape, "[8,12]")), 12)),
                HasSubstr("tensor \"b\": shape "))
        << shape;
  }
}

TEST(Safetensors, RefusesAShapeWhoseProductOverflows) {
  for (const char* shape :
       {"[4294967296,4294967296]", "[18446744073709551615]",
        "[9223372036854775807,2]", "[65536,65536,65536,65536]"}) {
    EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", shape, "[8,12]")), 12)),
                HasSubstr("tensor \"b\": shape "))
        << shape;
  }
}

TEST(Safetensors, RefusesOffsetsOutsideTheFile) {
  for (const char* offsets :
       {"[8,13]", "[13,12]", "[12,8]", "[8,18446744073709551615]", "[-8,12]",
        "[8]", "[8,12,16]", "8", "[8.0,12]"}) {
    EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", "[1]", offsets)), 12)),
                HasSubstr("tensor \"b\": data_offsets "))
        << offsets;
  }
}

TEST(Safetensors, RefusesOffsetsThatDoNotFitTheShape) {
  EXPECT_THAT(
      FileRefusal(File(Two(Entry(R"("F32")", "[2]", "[8,12]")), 12)),
      HasSubstr("tensor \"b\": data_offsets [8, 12], 4 bytes; want 8 bytes "
                "for F32 [2]"));
}

TEST(Safetensors, RefusesOverlapsHolesAndLeftovers) {
  EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", "[1]", "[4,8]")), 8)),
              HasSubstr("tensor \"b\": data_offsets [4, 8]; want begin 8"));
  EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", "[1]", "[12,16]")), 16)),
              HasSubstr("tensor \"b\": data_offsets [12, 16]; want begin 8"));
  EXPECT_THAT(FileRefusal(File(Two(Entry(R"("F32")", "[1]", "[8,12]")), 13)),
              HasSubstr("data of 13 bytes; want 12, where the last"));
}

TEST(Safetensors, RefusesMetadataThatIsNotText) {
  EXPECT_EQ(FileRefusal(File(R"({"__metadata__":{"a":"b"}})", 0)), "accepted");
  for (const char* metadata : {"1", "{\"a\":1}", "[\"a\"]"}) {
    EXPECT_THAT(FileRefusal(File(
                    R"({"__metadata__":)" + std::string(metadata) + "}", 0)),
                HasSubstr("__metadata__ "));
  }
}

// Random edits of a valid file: each is refused with one line, or gives
// tensors whose data lies inside the file. The file is on the heap with its
// exact size, so that AddressSanitizer sees a read beyond it.
TEST(Safetensors, SurvivesRandomEdits) {
  const std::string valid = test_support::SafetensorsBytes(
      {{"model.norm.weight", "F32", {4}, std::string(16, 'a')},
       {"lm_head.weight", "BF16", {3, 2}, std::string(12, 'b')},
       {"empty", "F16", {0}, ""}});
  const std::string alphabet = "{}[]\",:0123456789-eE.\\ \n\x80";
  std::mt19937_64 random(7);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string file = valid;
    for (uint64_t edit = random() % 4 + 1; edit > 0; --edit) {
      const size_t at = random() % (file.size() + 1);
      const char c = random() % 2 ? alphabet[random() % alphabet.size()]
                                  : static_cast<char>(random());
      switch (random() % 5) {
        case 0:
          file.insert(at, 1, c);
          break;
        case 1:
          file.erase(at, random() % 9);
          break;
        case 2:
          file.resize(at);
          break;
        default:
          if (at < file.size()) file[at] = c;
      }
      if (file.empty()) break;
    }
    const std::unique_ptr<std::byte[]> bytes(new std::byte[file.size()]);
    std::memcpy(bytes.get(), file.data(), file.size());
    const std::span<const std::byte> view(bytes.get(), file.size());
    const auto parsed = ParseSafetensors(view, "m.safetensors");
    if (!parsed.ok()) {
      ASSERT_EQ(parsed.status().message().find('\n'), absl::string_view::npos);
      continue;
    }
    ++accepted;
    for (const auto& [name, tensor] : *parsed) {
      if (tensor.data.empty()) continue;
      ASSERT_GE(tensor.data.data(), view.data());
      ASSERT_LE(tensor.data.data() + tensor.data.size(),
                view.data() + view.size());
    }
  }
  EXPECT_GT(accepted, 0);  // Edits of the data are no fault of the format.
}

}  // namespace
}  // namespace chela
