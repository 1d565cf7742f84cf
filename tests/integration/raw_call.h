#ifndef CHELA_TESTS_INTEGRATION_RAW_CALL_H_
#define CHELA_TESTS_INTEGRATION_RAW_CALL_H_

#include <string>

namespace chela {

// One unary call of GenerationService by hand-made HTTP/2 frames: a client that
// sends its request and then does nothing at all, neither at its deadline nor
// when an answer comes. Hangs up at the end of its life.
class RawCall {
 public:
  // To a port of loopback. timeout: as in the header, "100m" is 100 ms.
  RawCall(int port, const std::string& method, const std::string& timeout,
          const std::string& message);
  ~RawCall();
  RawCall(const RawCall&) = delete;

 private:
  const int fd_;
};

}  // namespace chela

#endif  // CHELA_TESTS_INTEGRATION_RAW_CALL_H_
