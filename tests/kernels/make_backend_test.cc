#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/backend_module.h"
#include "kernels/module_loader.h"
#include "kernels/product_pair.h"

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The folder of a fake module that tests/kernels/CMakeLists.txt builds.
std::string FakeFolder(const std::string& name) {
  return std::string(CHELA_FAKE_MODULES) + "/" + name;
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCuda(const std::string& folder) {
  return MakeBackend({.kind = BackendKind::kCuda, .module_dir = folder});
}

// The message of the refusal of `folder`'s module.
std::string Refusal(const std::string& folder, absl::StatusCode code) {
  const auto backend = MakeCuda(folder);
  EXPECT_EQ(backend.status().code(), code) << backend.status();
  return std::string(backend.status().message());
}

TEST(MakeBackendTest, MakesACpuBackend) {
  const auto backend = MakeBackend({.threads = 2, .module_dir = ""});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Info().name, "cpu");
  EXPECT_EQ((*backend)->Info().threads, 2);
}

TEST(MakeBackendTest, KeepsToTheKernelSetItIsGiven) {
  const auto backend = MakeBackend(
      {.threads = 1, .max_kernels = CpuKernels::kGeneric, .module_dir = ""});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Info().kernels, "generic");
}

TEST(MakeBackendTest, RefusesNegativeThreads) {
  EXPECT_EQ(MakeBackend({.threads = -1, .module_dir = ""}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MakeBackendTest, RefusesAnUnknownKind) {
  EXPECT_EQ(MakeBackend({.kind = static_cast<BackendKind>(9), .module_dir = ""})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MakeBackendTest, OpensAModuleAndHandsItTheOptions) {
  const auto backend = MakeBackend({.kind = BackendKind::kCuda,
                                    .device = 3,
                                    .threads = 5,
                                    .module_dir = FakeFolder("good")});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Info().name, "fake:3");
  EXPECT_EQ((*backend)->Info().threads, 5);
  EXPECT_EQ((*backend)->Allocate(1).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(MakeBackendTest, OpensAModuleAgainAfterItsBackendIsGone) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(MakeCuda(FakeFolder("good")).ok());
  }
}

TEST(MakeBackendTest, SaysWhereItLookedForAModule) {
  EXPECT_THAT(Refusal("/nowhere/at/all", absl::StatusCode::kNotFound),
              AllOf(HasSubstr("libchela_cuda.so"), HasSubstr("not installed"),
                    HasSubstr("looked in /nowhere/at/all")));
}

TEST(MakeBackendTest, LooksBesideTheExecutableByDefault) {
  const std::filesystem::path program =
      std::filesystem::read_symlink("/proc/self/exe");
  const std::filesystem::path folder = program.parent_path();
  EXPECT_EQ(ModuleFolders(""),
            (std::vector<std::string>{
                folder.string(), (folder.parent_path() / "lib").string()}));
}

TEST(MakeBackendTest, TakesTheFirstFolderThatHasTheModule) {
  const auto first = LoadBackendModule(
      {"/nowhere", FakeFolder("good"), FakeFolder("wrong_abi")},
      kCudaModuleFile);
  EXPECT_TRUE(first.ok()) << first.status();
  const auto second = LoadBackendModule(
      {FakeFolder("wrong_abi"), FakeFolder("good")}, kCudaModuleFile);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(MakeBackendTest, RefusesAModuleOfAnotherAbiAndNamesBoth) {
  EXPECT_THAT(
      Refusal(FakeFolder("wrong_abi"), absl::StatusCode::kFailedPrecondition),
      HasSubstr("another ABI: found " + std::to_string(kBackendModuleAbi + 41) +
                ", want " + std::to_string(kBackendModuleAbi)));
}

TEST(MakeBackendTest, PassesOnWhatTheFactoryReturned) {
  EXPECT_EQ(Refusal(FakeFolder("unavailable"), absl::StatusCode::kUnavailable),
            "device 0: no driver on this machine");
}

TEST(MakeBackendTest, RefusesALibraryThatIsNoModule) {
  EXPECT_THAT(
      Refusal(FakeFolder("no_symbol"), absl::StatusCode::kFailedPrecondition),
      AllOf(HasSubstr("no backend module"), HasSubstr(kBackendModuleSymbol)));
}

TEST(MakeBackendTest, RefusesAModuleWithoutAFactory) {
  EXPECT_THAT(
      Refusal(FakeFolder("no_factory"), absl::StatusCode::kFailedPrecondition),
      HasSubstr("no factory"));
}

TEST(MakeBackendTest, RefusesAModuleThatShowsNothing) {
  EXPECT_THAT(
      Refusal(FakeFolder("null_module"), absl::StatusCode::kFailedPrecondition),
      HasSubstr("returned null"));
}

TEST(MakeBackendTest, RefusesAFactoryThatReturnsNoBackend) {
  EXPECT_THAT(Refusal(FakeFolder("null_backend"), absl::StatusCode::kInternal),
              HasSubstr("returned no backend"));
}

TEST(MakeBackendTest, NamesTheLibraryOrSymbolThatAModuleLacks) {
  EXPECT_THAT(Refusal(FakeFolder("unresolved"), absl::StatusCode::kUnavailable),
              AllOf(HasSubstr("cannot be opened"),
                    HasSubstr("chela_test_symbol_that_nobody_defines")));
}

TEST(MakeBackendTest, RefusesAFileThatIsNoLibrary) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "chela_no_library";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / kCudaModuleFile) << "not a shared library";
  EXPECT_THAT(Refusal(folder.string(), absl::StatusCode::kUnavailable),
              HasSubstr("cannot be opened"));
  std::filesystem::remove_all(folder);
}

PairedProduct SmallProduct() {
  PairedProduct product;
  product.outputs = 64;
  product.inputs = 64;
  return product;
}

TEST(MakeProductPairTest, IsNothingThatEveryDeviceHas) {
  EXPECT_EQ(MakeProductPair({.module_dir = ""}, SmallProduct()).status().code(),
            absl::StatusCode::kUnimplemented);
  const auto pair = MakeProductPair(
      {.kind = BackendKind::kCuda, .module_dir = FakeFolder("good")},
      SmallProduct());
  EXPECT_EQ(pair.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(pair.status().message()), HasSubstr("no peer"));
}

TEST(MakeProductPairTest, SaysWhichModuleIsMissing) {
  const auto pair = MakeProductPair(
      {.kind = BackendKind::kCuda, .module_dir = "/nowhere/at/all"},
      SmallProduct());
  EXPECT_EQ(pair.status().code(), absl::StatusCode::kNotFound);
}

TEST(MakeProductPairTest, RefusesSizesBelowOne) {
  for (int64_t PairedProduct::*size :
       {&PairedProduct::outputs, &PairedProduct::inputs,
        &PairedProduct::copies}) {
    PairedProduct product = SmallProduct();
    product.*size = 0;
    EXPECT_EQ(MakeProductPair({.module_dir = ""}, product).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  PairedProduct product = SmallProduct();
  product.rows = -1;
  EXPECT_EQ(MakeProductPair({.module_dir = ""}, product).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace chela
