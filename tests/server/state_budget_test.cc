#include "server/state_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chela {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ResidentBoundTest, IsAQuarterAboveWhatIsHeldAnd200Megabytes) {
  EXPECT_EQ(ResidentBound(4000, 8000), 15000 + 200'000'000);
}

TEST(DefaultPrefixCacheTest, TakesAQuarterOfTheStatesOrTheSixteenthThatIsFree) {
  EXPECT_EQ(DefaultPrefixCacheBytes(1600, 400), 100);
  EXPECT_EQ(DefaultPrefixCacheBytes(1600, 401 * 4), 100);
  EXPECT_EQ(DefaultPrefixCacheBytes(800, 400), 50);
}

TEST(DefaultSequencesTest, TakesAQuarterOfACpusFreeMemory) {
  EXPECT_EQ(*DefaultSequences(1000, 10, false), 25);
  EXPECT_EQ(*DefaultSequences(int64_t{1} << 40, 10, false), 256);
  EXPECT_EQ(*DefaultSequences(1000, 10, true), 87);
  EXPECT_EQ(*DefaultSequences(int64_t{40} << 30, 1 << 30, true), 36);
  EXPECT_TRUE(
      absl::IsResourceExhausted(DefaultSequences(39, 10, false).status()));
}

TEST(CheckSequencesTest, LeavesAnEighthOfTheMemoryFreeAndSaysWhatFits) {
  EXPECT_TRUE(CheckSequences(87, 1000, 10).ok());
  const absl::Status refused = CheckSequences(88, 1000, 10);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("88 states of 10 bytes asked"),
                    HasSubstr("1000 bytes are free"), HasSubstr("125 of them"),
                    HasSubstr("want at most 87")));
  EXPECT_FALSE(CheckSequences(1, 0, 10).ok());
}

TEST(CheckSequencesTest, KeepsOneGibibyteOfALargeMemory) {
  constexpr int64_t kGibibyte = int64_t{1} << 30;
  EXPECT_TRUE(CheckSequences(63, 64 * kGibibyte, kGibibyte).ok());
  EXPECT_FALSE(CheckSequences(64, 64 * kGibibyte, kGibibyte).ok());
}

}  // namespace
}  // namespace chela
