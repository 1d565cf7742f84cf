#include "server/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/model_config.h"

namespace chela {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr int32_t kChunk = static_cast<int32_t>(kChunkTokens);

RunningEntry Decoding(int64_t arrival, int64_t last_step = 0,
                      int32_t priority = 0) {
  return {{WorkKind::kDecode, 1}, priority, arrival, last_step};
}

RunningEntry Reading(int32_t rows, int64_t arrival, int64_t last_step = -1,
                     int32_t priority = 0) {
  return {{WorkKind::kChunk, rows}, priority, arrival, last_step};
}

RunningEntry Idle(int64_t arrival) { return {Work(), 0, arrival, 0}; }

RunningEntry DecodingRows(int32_t rows, int64_t arrival) {
  return {{WorkKind::kDecode, rows}, 0, arrival, arrival};
}

TEST(PlanStepTest, CountsEachRowOfASequenceWithSeveralChoices) {
  const std::vector<RunningEntry> running = {
      DecodingRows(128, 1), DecodingRows(100, 2), DecodingRows(60, 3),
      DecodingRows(20, 4)};
  EXPECT_THAT(PlanStep(running, {.max_rows = 512}), ElementsAre(0, 1, 2, 3));
  // The third does not fit; the fourth does.
  EXPECT_THAT(PlanStep(running, {.max_rows = kChunk}), ElementsAre(0, 1, 3));
  std::vector<RunningEntry> with_chunk = running;
  with_chunk.push_back(Reading(kChunk, 5));
  // 308 rows and a chunk do not fit into 512: turns.
  EXPECT_THAT(PlanStep(with_chunk, {.max_rows = 512}), ElementsAre(0, 1, 3, 4));
  EXPECT_THAT(PlanStep(with_chunk, {.max_rows = 512, .after_chunk = true}),
              ElementsAre(0, 1, 2, 3));
}

// The entries that one replica admits.
std::vector<int32_t> Admitted(const std::vector<WaitingEntry>& waiting,
                              int32_t free_slots) {
  std::vector<int32_t> entries;
  for (const Admission& one : Admit(waiting, {free_slots})) {
    entries.push_back(one.entry);
  }
  return entries;
}

TEST(AdmitTest, AdmitsNobodyWithoutAFreeSlot) {
  EXPECT_THAT(Admit({{.arrival = 1}}, {0}), IsEmpty());
  EXPECT_THAT(Admit({}, {4}), IsEmpty());
}

TEST(AdmitTest, AdmitsByPriorityThenArrival) {
  const std::vector<WaitingEntry> waiting = {{.priority = 0, .arrival = 3},
                                             {.priority = 0, .arrival = 1},
                                             {.priority = 5, .arrival = 4},
                                             {.priority = -2, .arrival = 0},
                                             {.priority = 5, .arrival = 2}};
  EXPECT_THAT(Admitted(waiting, 5), ElementsAre(4, 2, 1, 0, 3));
}

TEST(AdmitTest, AdmitsNoMoreThanSlotsAreFree) {
  const std::vector<WaitingEntry> waiting = {
      {.arrival = 1}, {.arrival = 2}, {.arrival = 3}};
  EXPECT_THAT(Admitted(waiting, 2), ElementsAre(0, 1));
}

TEST(AdmitTest, CountsTheSlotsThatEachRequestNeeds) {
  const std::vector<WaitingEntry> waiting = {
      {.arrival = 1, .slots = 2}, {.arrival = 2}, {.arrival = 3}};
  EXPECT_THAT(Admitted(waiting, 3), ElementsAre(0, 1));
}

TEST(AdmitTest, HoldsBackOthersBehindARequestForTwoSlots) {
  const std::vector<WaitingEntry> waiting = {
      {.arrival = 1, .slots = 2}, {.arrival = 2}, {.arrival = 3}};
  EXPECT_THAT(Admitted(waiting, 1), IsEmpty());
}

TEST(AdmitTest, OrdersTheExtremesOfPriority) {
  const std::vector<WaitingEntry> waiting = {
      {.priority = INT32_MIN, .arrival = 1},
      {.priority = INT32_MAX, .arrival = 2}};
  EXPECT_THAT(Admitted(waiting, 2), ElementsAre(1, 0));
}

// "entry@replica" of each.
std::vector<std::string> Placed(const std::vector<WaitingEntry>& waiting,
                                std::vector<int32_t> free_slots) {
  std::vector<std::string> placed;
  for (const Admission& one : Admit(waiting, std::move(free_slots))) {
    placed.push_back(std::to_string(one.entry) + "@" +
                     std::to_string(one.replica));
  }
  return placed;
}

TEST(AdmitTest, FillsTheFreestReplicaAndOfEqualsTheFirst) {
  std::vector<WaitingEntry> waiting;
  for (int i = 0; i < 7; ++i) waiting.push_back({.arrival = i});
  EXPECT_THAT(Placed(waiting, {1, 3, 3}),
              ElementsAre("0@1", "1@2", "2@1", "3@2", "4@0", "5@1", "6@2"));
  waiting.push_back({.arrival = 7});
  EXPECT_THAT(Placed(waiting, {1, 3, 3}), SizeIs(7));
}

TEST(AdmitTest, NeverSplitsARequestOverReplicas) {
  const std::vector<WaitingEntry> waiting = {
      {.arrival = 1, .slots = 3}, {.arrival = 2}, {.arrival = 3}};
  EXPECT_THAT(Placed(waiting, {2, 2}), IsEmpty());
  EXPECT_THAT(Placed(waiting, {2, 3}), ElementsAre("0@1", "1@0", "2@0"));
}

TEST(AdmitTest, PrefersTheHolderUnlessItHasFarFewerSlots) {
  EXPECT_THAT(Placed({{.arrival = 1, .holder = 1}}, {9, 1}),
              ElementsAre("0@1"));
  EXPECT_THAT(Placed({{.arrival = 1, .holder = 1}}, {10, 1}),
              ElementsAre("0@0"));
  EXPECT_THAT(Placed({{.arrival = 1, .holder = 1}}, {3, 0}),
              ElementsAre("0@0"));
  EXPECT_THAT(Placed({{.arrival = 1, .slots = 2, .holder = 1}}, {3, 1}),
              ElementsAre("0@0"));
}

TEST(PlanStepTest, PlansNothingWithoutWork) {
  EXPECT_THAT(PlanStep({}, {.max_rows = 512}), IsEmpty());
  EXPECT_THAT(PlanStep({Idle(1), Idle(2)}, {.max_rows = 512}), IsEmpty());
}

TEST(PlanStepTest, TakesEveryDecodingSequenceAndLeavesOutTheIdle) {
  EXPECT_THAT(PlanStep({Decoding(1), Idle(2), Decoding(3)}, {.max_rows = 512}),
              UnorderedElementsAre(0, 2));
}

TEST(PlanStepTest, PutsDecodeBeforeChunks) {
  EXPECT_THAT(PlanStep({Reading(100, 1), Decoding(2)}, {.max_rows = 512}),
              ElementsAre(1, 0));
}

TEST(PlanStepTest, TakesSeveralChunksWhileTheyFit) {
  EXPECT_THAT(PlanStep({Reading(kChunk, 1), Reading(kChunk, 2), Reading(1, 3)},
                       {.max_rows = 2 * kChunk}),
              ElementsAre(0, 1));
}

TEST(PlanStepTest, LetsASmallerChunkUseWhatABigOneCannot) {
  EXPECT_THAT(PlanStep({Decoding(0), Reading(kChunk, 1), Reading(kChunk, 2),
                        Reading(17, 3)},
                       {.max_rows = 2 * kChunk}),
              ElementsAre(0, 1, 3));
}

TEST(PlanStepTest, OrdersChunksByPriorityThenLongestPauseThenArrival) {
  EXPECT_THAT(PlanStep({Reading(8, 1, 7), Reading(8, 2, 3), Reading(8, 5),
                        Reading(8, 4), Reading(8, 9, 8, 1)},
                       {.max_rows = 512}),
              ElementsAre(4, 3, 2, 1, 0));
}

TEST(PlanStepTest, LetsAShortPromptInBesideALongOne) {
  // The long prompt ran in the step before, so the short one is first.
  const std::vector<RunningEntry> running = {Reading(kChunk, 1, 41),
                                             Reading(10, 2)};
  EXPECT_THAT(PlanStep(running, {.max_rows = kChunk, .after_chunk = true}),
              ElementsAre(1));
}

TEST(PlanStepTest, AlternatesWhereAChunkDoesNotFitBesideDecode) {
  std::vector<RunningEntry> running = {Reading(kChunk, 99)};
  for (int i = 0; i < 200; ++i) running.push_back(Decoding(i));

  const auto with_chunk = PlanStep(running, {.max_rows = 300});
  EXPECT_THAT(with_chunk, SizeIs(300 - kChunk + 1));
  EXPECT_EQ(with_chunk.back(), 0);

  const auto decode_only =
      PlanStep(running, {.max_rows = 300, .after_chunk = true});
  EXPECT_THAT(decode_only, SizeIs(200));
  EXPECT_EQ(std::count(decode_only.begin(), decode_only.end(), 0), 0);
}

TEST(PlanStepTest, TakesTheLongestWaitingWhereDecodeExceedsTheBudget) {
  std::vector<RunningEntry> running;
  for (int i = 0; i < 300; ++i) running.push_back(Decoding(i, i % 3));
  const auto planned = PlanStep(running, {.max_rows = kChunk});
  ASSERT_THAT(planned, SizeIs(kChunk));
  int oldest = 0;
  for (const int32_t index : planned) oldest += running[index].last_step == 0;
  EXPECT_EQ(oldest, 100);
}

// Runs `steps` steps over sequences whose work never ends; how long each was
// left out at most.
std::vector<int64_t> LongestPauses(std::vector<RunningEntry> running,
                                   int32_t max_rows, int64_t steps) {
  std::vector<int64_t> pauses(running.size(), 0);
  bool after_chunk = false;
  for (RunningEntry& entry : running) entry.last_step = -1;
  for (int64_t step = 0; step < steps; ++step) {
    const auto planned =
        PlanStep(running, {.max_rows = max_rows, .after_chunk = after_chunk});
    after_chunk = false;
    int32_t rows = 0;
    for (const int32_t index : planned) {
      RunningEntry& entry = running[index];
      rows += entry.work.rows;
      after_chunk |= entry.work.kind == WorkKind::kChunk;
      pauses[index] = std::max(pauses[index], step - entry.last_step - 1);
      entry.last_step = step;
    }
    EXPECT_GT(rows, 0);
    EXPECT_LE(rows, max_rows);
  }
  for (size_t i = 0; i < running.size(); ++i) {
    pauses[i] = std::max(pauses[i], steps - running[i].last_step - 1);
  }
  return pauses;
}

struct Mix {
  int decoding;
  int reading;
  int32_t max_rows;
  int64_t longest_decode_pause;
  int64_t longest_reading_pause;
};

TEST(PlanStepTest, StarvesNobodyInAnyMix) {
  // Where the rows do not hold everything, n sequences that share m places a
  // step wait ceil(n / m) - 1 steps; taking turns doubles a pause.
  const Mix mixes[] = {
      {10, 0, 256, 0, 0},   // everyone, always
      {0, 1, 256, 0, 0},    //
      {0, 5, 256, 0, 4},    // one chunk a step
      {0, 5, 512, 0, 2},    // two
      {256, 3, 512, 0, 2},  // fits exactly: decode never pauses
      {1, 3, 256, 1, 5},    // a chunk fills the step: turns
      {300, 2, 512, 1, 3},  // turns; 256 of 300 run beside the chunk
      {600, 0, 256, 2, 0},  // decode alone exceeds a step
      {600, 2, 256, 5, 3},  // and takes turns with chunks
  };
  for (const Mix& mix : mixes) {
    SCOPED_TRACE(::testing::Message()
                 << mix.decoding << " decode, " << mix.reading << " read, "
                 << mix.max_rows << " rows");
    std::vector<RunningEntry> running;
    for (int i = 0; i < mix.decoding; ++i) running.push_back(Decoding(i));
    for (int i = 0; i < mix.reading; ++i) {
      running.push_back(Reading(kChunk, 1000 + i));
    }
    const auto pauses = LongestPauses(running, mix.max_rows, 60);
    for (size_t i = 0; i < running.size(); ++i) {
      EXPECT_LE(pauses[i], running[i].work.kind == WorkKind::kDecode
                               ? mix.longest_decode_pause
                               : mix.longest_reading_pause)
          << "sequence " << i;
    }
  }
}

TEST(ChunkRowsTest, EndsAtAbsoluteMultiplesOrAtTheEnd) {
  EXPECT_EQ(ChunkRows(0, 1), 1);
  EXPECT_EQ(ChunkRows(0, kChunk), kChunk);
  EXPECT_EQ(ChunkRows(0, 10 * kChunk), kChunk);
  EXPECT_EQ(ChunkRows(kChunk, 3), 3);
  EXPECT_EQ(ChunkRows(100, 10 * kChunk), kChunk - 100);
  EXPECT_EQ(ChunkRows(100, 20), 20);
  EXPECT_EQ(ChunkRows(5 * kChunk - 1, 50), 1);
  EXPECT_EQ(ChunkRows((int64_t{1} << 40) + 1, int64_t{1} << 40), kChunk - 1);
}

}  // namespace
}  // namespace chela
