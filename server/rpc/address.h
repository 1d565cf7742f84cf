#ifndef CHELA_SERVER_RPC_ADDRESS_H_
#define CHELA_SERVER_RPC_ADDRESS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace chela {

// Where to listen: HOST:PORT, with an IPv6 host in brackets. Port 0 lets the
// system choose.
struct Address {
  std::string host;  // without brackets
  uint16_t port = 0;

  // INVALID_ARGUMENT says what was found and wanted.
  static absl::StatusOr<Address> Parse(const std::string& text);

  std::string ToString() const;
  // 127.0.0.0/8, ::1 or localhost: nobody else can connect.
  bool IsLoopback() const;
};

// Why one cannot listen at `address`, as the system says it; OK if one can.
// For the message after a listener failed without a reason.
absl::Status WhyNotListen(const Address& address);

// Connects to `address` on this machine and hangs up, to wake whoever listens.
void Knock(const Address& address);

}  // namespace chela

#endif  // CHELA_SERVER_RPC_ADDRESS_H_
