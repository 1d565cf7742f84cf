#ifndef CHELA_TESTS_SERVER_MANY_CLIENTS_H_
#define CHELA_TESTS_SERVER_MANY_CLIENTS_H_

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/engine_rig.h"

namespace chela::test_support {

// Four clients submit at once; half of their requests are cancelled after a few
// tokens, some are overdue, and each has at most `choices`. Calls `meanwhile`
// while they run, then expects the engine to be idle with `slots` free.
inline void SubmitAndCancelAtOnce(
    Rig& rig, int32_t choices, int32_t slots,
    const std::function<void()>& meanwhile = [] {}) {
  std::vector<std::thread> clients;
  for (uint32_t client = 0; client < 4; ++client) {
    clients.emplace_back([&rig, client, choices] {
      for (uint32_t i = 0; i < 20; ++i) {
        Listener listener;
        const bool cancels = (client + i) % 2 == 0;
        GenerateJob job = Job(listener, 1 + static_cast<int32_t>(40 * i) % 300,
                              cancels ? kEndless : 6, i);
        if (i % 5 == 3) {
          job.header.deadline = Clock::now() + std::chrono::milliseconds(3);
        }
        job.choices = job.best_of = 1 + static_cast<int32_t>(i) % choices;
        const absl::Status status = rig.engine->Submit(std::move(job));
        ASSERT_TRUE(status.ok() || absl::IsDeadlineExceeded(status));
        if (!status.ok()) continue;
        if (cancels) {
          listener.WaitForTokens(i % 4);
          listener.stream()->Cancel();
        }
        listener.Wait();
      }
    });
  }
  meanwhile();
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  const EngineLoad load = rig.engine->Load();
  EXPECT_EQ(load.running, 0);
  EXPECT_EQ(load.waiting, 0);
  EXPECT_EQ(load.queued_tokens, 0);
  EXPECT_EQ(load.slots_free, slots);
}

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_MANY_CLIENTS_H_
