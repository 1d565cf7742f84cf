#ifndef CHELA_SERVER_RPC_DELIVERY_H_
#define CHELA_SERVER_RPC_DELIVERY_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace chela {

// Something that the engine has news for.
class Recipient {
 public:
  virtual ~Recipient() = default;
  // Takes the news. On the delivery thread; must not block.
  virtual void Deliver() = 0;

 private:
  friend class Delivery;
  std::atomic<bool> notified_{false};
};

// One thread between the engine and gRPC: the engine's callbacks only note who
// has news, and this thread serialises and writes. So the step loop pays about
// 100 ns a token for delivery instead of gRPC's 5 to 10 us, and several tokens
// of one recipient become one message when this thread is behind.
//
// Thread-safe.
class Delivery {
 public:
  Delivery();
  ~Delivery();  // Stop()s
  Delivery(const Delivery&) = delete;

  // Has `recipient` Deliver() soon, at least once after this call; does
  // nothing for one that is gone.
  void Notify(const std::weak_ptr<Recipient>& recipient);

  // Delivers what was noted, then joins the thread. Idempotent.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Recipient>> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_DELIVERY_H_
