#ifndef CHELA_SERVER_RPC_BYTE_BUDGET_H_
#define CHELA_SERVER_RPC_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace chela {

// Memory that several calls hold together while a client sends or takes it, so
// that many slow clients cannot take all there is. Thread-safe.
class ByteBudget {
 public:
  // A call's share, given back with it. Used by one thread at a time.
  class Share {
   public:
    explicit Share(std::shared_ptr<ByteBudget> budget)
        : budget_(std::move(budget)) {}
    Share(const Share&) = delete;
    ~Share() { budget_->taken_ -= bytes_; }
    // Takes more, unless all shares would come to more than `limit`.
    bool Take(int64_t bytes, int64_t limit) {
      if (budget_->taken_.fetch_add(bytes) + bytes > limit) {
        budget_->taken_ -= bytes;
        return false;
      }
      bytes_ += bytes;
      return true;
    }

   private:
    const std::shared_ptr<ByteBudget> budget_;
    int64_t bytes_ = 0;
  };

 private:
  std::atomic<int64_t> taken_{0};
};

}  // namespace chela

#endif  // CHELA_SERVER_RPC_BYTE_BUDGET_H_
