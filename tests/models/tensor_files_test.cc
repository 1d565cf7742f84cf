#include "models/tensor_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using nlohmann::json;
using test_support::SafetensorsBytes;
using test_support::TempDir;
using ::testing::HasSubstr;

constexpr char kShard1[] = "model-00001-of-00002.safetensors";
constexpr char kShard2[] = "model-00002-of-00002.safetensors";

test_support::TensorToWrite Tensor(const std::string& name) {
  return {name, "F32", {1}, "\x01\x02\x03\x04"};
}

void WriteIndex(const TempDir& folder, const json& weight_map) {
  folder.Write(
      "model.safetensors.index.json",
      json{{"metadata", {{"total_size", 8}}}, {"weight_map", weight_map}}
          .dump());
}

// Shards 1 with a and 2 with b, and the index that says so.
TempDir TwoShards() {
  TempDir folder;
  folder.Write(kShard1, SafetensorsBytes({Tensor("a")}));
  folder.Write(kShard2, SafetensorsBytes({Tensor("b")}));
  WriteIndex(folder, {{"a", kShard1}, {"b", kShard2}});
  return folder;
}

std::string Message(const absl::StatusOr<TensorFiles>& files) {
  return std::string(files.status().message());
}

TEST(TensorFiles, ReadsASingleFile) {
  const TempDir folder;
  folder.Write("model.safetensors", SafetensorsBytes({Tensor("a")}));
  const auto files = TensorFiles::Open(folder.path());
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->tensors().size(), 1u);
  EXPECT_EQ(files->tensors().at("a").data[3], std::byte{4});
}

TEST(TensorFiles, ReadsShards) {
  const TempDir folder = TwoShards();
  const auto files = TensorFiles::Open(folder.path());
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->tensors().size(), 2u);
  EXPECT_EQ(files->tensors().at("b").label,
            folder.path() + "/" + kShard2 + ": tensor \"b\"");
}

TEST(TensorFiles, KeepsTheMappingWhenItIsMoved) {
  const TempDir folder = TwoShards();
  auto files = TensorFiles::Open(folder.path());
  ASSERT_TRUE(files.ok()) << files.status();
  const TensorFiles moved = *std::move(files);
  EXPECT_EQ(moved.tensors().at("a").data[0], std::byte{1});
}

TEST(TensorFiles, SaysWhatItLookedFor) {
  const TempDir folder;
  const auto files = TensorFiles::Open(folder.path());
  EXPECT_TRUE(absl::IsNotFound(files.status()));
  EXPECT_EQ(Message(files), folder.path() +
                                ": found neither model.safetensors nor "
                                "model.safetensors.index.json; want one of "
                                "them");
}

TEST(TensorFiles, NamesAMissingShard) {
  const TempDir folder = TwoShards();
  WriteIndex(folder, {{"a", kShard1}, {"b", "gone.safetensors"}});
  const auto files = TensorFiles::Open(folder.path());
  EXPECT_TRUE(absl::IsNotFound(files.status()));
  EXPECT_THAT(Message(files),
              HasSubstr(folder.path() + "/gone.safetensors: cannot open"));
}

TEST(TensorFiles, RefusesShardsOutsideTheFolder) {
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "", "..", "a\\b.safetensors"}) {
    const TempDir folder = TwoShards();
    WriteIndex(folder, {{"a", kShard1}, {"b", name}});
    const auto files = TensorFiles::Open(folder.path());
    EXPECT_TRUE(absl::IsInvalidArgument(files.status())) << name;
    EXPECT_THAT(Message(files), HasSubstr("tensor \"b\": file "));
    EXPECT_THAT(Message(files), HasSubstr("want the name of a file in this"));
  }
}

TEST(TensorFiles, RefusesATensorInTwoShards) {
  const TempDir folder = TwoShards();
  folder.Write(kShard2, SafetensorsBytes({Tensor("a"), Tensor("b")}));
  const auto files = TensorFiles::Open(folder.path());
  EXPECT_TRUE(absl::IsInvalidArgument(files.status()));
  EXPECT_THAT(Message(files), HasSubstr("tensor \"a\": stands also in "));
}

TEST(TensorFiles, RefusesATensorThatIsInAnotherShard) {
  const TempDir folder = TwoShards();
  WriteIndex(folder, {{"a", kShard2}, {"b", kShard1}});
  EXPECT_THAT(
      Message(TensorFiles::Open(folder.path())),
      HasSubstr(std::string(kShard2) + ": tensor \"a\": not in this file"));
}

TEST(TensorFiles, RefusesATensorThatTheIndexDoesNotList) {
  const TempDir folder = TwoShards();
  folder.Write(kShard2, SafetensorsBytes({Tensor("b"), Tensor("extra")}));
  EXPECT_THAT(Message(TensorFiles::Open(folder.path())),
              HasSubstr("tensor \"extra\": not in " + folder.path()));
}

TEST(TensorFiles, RefusesABrokenIndex) {
  const TempDir folder = TwoShards();
  for (const char* text : {"{", "[]", "{}", "{\"weight_map\": 1}",
                           "{\"weight_map\": {\"a\": 1}}"}) {
    folder.Write("model.safetensors.index.json", text);
    const auto files = TensorFiles::Open(folder.path());
    EXPECT_TRUE(absl::IsInvalidArgument(files.status())) << text;
    EXPECT_THAT(Message(files), HasSubstr("model.safetensors.index.json: "));
  }
}

TEST(TensorFiles, RefusesWhatIsNoRegularFile) {
  const TempDir folder;
  ASSERT_EQ(mkfifo((folder.path() + "/model.safetensors").c_str(), 0600), 0);
  const auto files = TensorFiles::Open(folder.path());
  EXPECT_TRUE(absl::IsInvalidArgument(files.status()));
  EXPECT_THAT(Message(files), HasSubstr("not a regular file"));
}

TEST(TensorFiles, RefusesAnEmptyFile) {
  const TempDir folder;
  folder.Write("model.safetensors", "");
  EXPECT_THAT(Message(TensorFiles::Open(folder.path())),
              HasSubstr("file of 0 bytes"));
}

}  // namespace
}  // namespace chela
