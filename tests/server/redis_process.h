#ifndef CHELA_TESTS_SERVER_REDIS_PROCESS_H_
#define CHELA_TESTS_SERVER_REDIS_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "server/session/redis_store.h"
#include "tests/support/temp_dir.h"

namespace chela::test_support {

// A Redis server of our own on a socket in a temporary folder, which forgets
// everything at its end.
class RedisProcess {
 public:
  // Null without a redis-server. `arguments` are added to its command line.
  static std::unique_ptr<RedisProcess> Start(
      const std::vector<std::string>& arguments = {});
  ~RedisProcess();
  RedisProcess(const RedisProcess&) = delete;

  std::string url() const { return "unix://" + socket(); }
  // For a store there, with the default prefix and little patience.
  RedisStoreOptions options() const;
  void StandStill() const;  // until GoOn
  void GoOn() const;
  void Stop();     // kills it
  void Restart();  // empty, at the same place

 private:
  explicit RedisProcess(std::vector<std::string> arguments);
  std::string socket() const { return folder_.path() + "/redis.sock"; }
  bool Run();

  TempDir folder_;
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_REDIS_PROCESS_H_
