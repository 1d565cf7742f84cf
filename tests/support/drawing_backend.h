#ifndef CHELA_TESTS_SUPPORT_DRAWING_BACKEND_H_
#define CHELA_TESTS_SUPPORT_DRAWING_BACKEND_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "kernels/forwarding_backend.h"

namespace chela::test_support {

// A CPU backend that draws tokens, with the host's Candidates: what runs where
// a GPU would draw can be tested without one, and must give what the host
// gives.
class DrawingBackend : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  bool draws_tokens() const override { return true; }
  absl::Status Run(const Draw& op) override;
  using ForwardingBackend::Run;
  absl::Status Download(const void* device, void* host, size_t bytes) override;

  // So far. Thread-safe.
  int64_t tokens_drawn() const { return tokens_drawn_; }
  int64_t bytes_downloaded() const { return bytes_downloaded_; }

 private:
  std::atomic<int64_t> tokens_drawn_{0};
  std::atomic<int64_t> bytes_downloaded_{0};
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SUPPORT_DRAWING_BACKEND_H_
