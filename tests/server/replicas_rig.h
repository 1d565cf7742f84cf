#ifndef CHELA_TESTS_SERVER_REPLICAS_RIG_H_
#define CHELA_TESTS_SERVER_REPLICAS_RIG_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/server/engine_rig.h"
#include "tests/server/metrics_page.h"

namespace chela::test_support {

// Slots of device `index` in use.
inline double Active(const Rig& rig, int index) {
  return ValueOf(rig.Page(),
                 "chela_device_state_slots{model=\"tiny\",device=\"rig:" +
                     std::to_string(index) + "\",state=\"active\"}");
}

// A score that holds a slot of device `index` and waits for input.
inline std::shared_ptr<ScoreStream> HoldASlotOf(Rig& rig, int index) {
  auto silent = std::make_shared<ScoreStream>();
  const double before = Active(rig, index);
  EXPECT_TRUE(rig.engine->Submit(Job(silent)).ok());
  EXPECT_TRUE(Eventually([&] { return Active(rig, index) == before + 1; }));
  return silent;
}

// Gives it back.
inline void Release(Rig& rig, const std::shared_ptr<ScoreStream>& silent) {
  const int32_t before = rig.engine->Load().slots_free;
  silent->Cancel();
  EXPECT_TRUE(
      Eventually([&] { return rig.engine->Load().slots_free == before + 1; }));
}

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_REPLICAS_RIG_H_
