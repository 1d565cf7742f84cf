#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "models/generation_defaults.h"
#include "models/mapped_file.h"
#include "models/safetensors.h"
#include "tests/models/running_model.h"
#include "tests/reference/chela_model.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

constexpr char kModel[] = CHELA_SOURCE_DIR "/models/chela-demo";
constexpr char kExpected[] =
    CHELA_SOURCE_DIR "/tests/data/demo/expected.safetensors";

std::vector<int32_t> Integers(const StoredTensor& tensor) {
  std::vector<int32_t> values;
  EXPECT_EQ(tensor.dtype, "I64");
  for (size_t at = 0; at + 8 <= tensor.data.size(); at += 8) {
    int64_t value = 0;
    std::memcpy(&value, &tensor.data[at], 8);
    values.push_back(static_cast<int32_t>(value));
  }
  return values;
}

// The demo's tensors under a config that says float32: nothing is rounded.
class DemoInFloat32 {
 public:
  DemoInFloat32() {
    std::ifstream file(std::string(kModel) + "/config.json");
    nlohmann::json config = nlohmann::json::parse(file, nullptr, false);
    config["torch_dtype"] = "float32";
    folder_.Write("config.json", config.dump());
    for (const auto& entry : std::filesystem::directory_iterator(kModel)) {
      const std::string name = entry.path().filename().string();
      if (name.find("safetensors") == std::string::npos) continue;
      std::filesystem::create_symlink(entry.path(),
                                      folder_.path() + "/" + name);
    }
  }
  const std::string& directory() const { return folder_.path(); }

 private:
  test_support::TempDir folder_;
};

struct Expected {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<std::vector<float>> logits;  // one row a position
};

Expected ReadExpected() {
  Expected expected;
  const auto file = MappedFile::Open(kExpected);
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) return expected;
  const auto tensors = ParseSafetensors(file->bytes(), kExpected);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  if (!tensors.ok()) return expected;
  expected.tokens = Integers(tensors->at("tokens"));
  expected.positions = Integers(tensors->at("positions"));
  const StoredTensor& logits = tensors->at("logits");
  const size_t vocab = static_cast<size_t>(logits.shape[1]);
  for (size_t i = 0; i < expected.positions.size(); ++i) {
    expected.logits.emplace_back(vocab);
    std::memcpy(expected.logits.back().data(), &logits.data[i * vocab * 4],
                vocab * 4);
  }
  return expected;
}

// The trained weights through the server's code, without any 16-bit rounding,
// against the float64 twin.
TEST(DemoModel, AgreesWithTheTwinInFloat32) {
  const DemoInFloat32 demo;
  std::vector<int32_t> tokens = ReadExpected().tokens;
  ASSERT_GE(tokens.size(), 8u);
  tokens.resize(8);
  const auto want =
      reference::Logits(reference::LoadCheckpoint(demo.directory()), tokens);
  RunningModel running(demo.directory(), {.max_rows = 8, .slots = 1});
  const auto got = running.Run(running.Acquire(), tokens, 8);
  for (size_t t = 0; t < tokens.size(); ++t) {
    EXPECT_LE(RelativeL2(got[t], want[t]), 1e-5) << "position " << t;
  }
}

// As it is served, in bf16, against PyTorch in float64 with the same rounding
// of left operands: the bound that the model's definition gives for 16-bit
// checkpoints, row by row.
TEST(DemoModel, AgreesWithPyTorch) {
  const Expected expected = ReadExpected();
  ASSERT_GE(expected.positions.size(), 16u);
  RunningModel model(kModel, {.max_rows = 256});
  const auto got = model.Run(model.Acquire(), expected.tokens, 256);
  for (size_t i = 0; i < expected.positions.size(); ++i) {
    const size_t t = static_cast<size_t>(expected.positions[i]);
    EXPECT_LE(RelativeL2(got[t], expected.logits[i]), 1e-2) << "position " << t;
  }
}

TEST(DemoModel, HasConfigAndDefaultsWithoutUnknownKeys) {
  const auto config = ModelConfig::Load(kModel);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->unknown_keys, std::vector<std::string>{});
  EXPECT_TRUE(config->add_bos_token);
  const auto defaults = GenerationDefaults::Load(kModel);
  EXPECT_TRUE(defaults.ok()) << defaults.status();
}

}  // namespace
}  // namespace chela
