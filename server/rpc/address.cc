#include "server/rpc/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace chela {
namespace {

absl::Status Malformed(const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text,
                   "\"; want HOST:PORT with a port of 0 .. 65535, an IPv6 host "
                   "in brackets"));
}

struct FreeAddresses {
  void operator()(addrinfo* found) const { freeaddrinfo(found); }
};
using Resolved = std::unique_ptr<addrinfo, FreeAddresses>;

absl::StatusOr<Resolved> Resolve(const Address& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(address.port);
  const int error =
      getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (error == 0) return Resolved(found);
  return absl::NotFoundError(
      absl::StrCat(address.host, ": ", gai_strerror(error)));
}

}  // namespace

absl::StatusOr<Address> Address::Parse(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return Malformed(text);
  Address address;
  address.host = text.substr(0, colon);
  if (address.host.front() == '[') {
    if (address.host.size() < 3 || address.host.back() != ']') {
      return Malformed(text);
    }
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return Malformed(text);
  }
  const std::string digits = text.substr(colon + 1);
  uint32_t port = 0;
  if (digits.empty() ||
      digits.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return Malformed(text);
  }
  address.port = static_cast<uint16_t>(port);
  return address;
}

std::string Address::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? absl::StrCat("[", host, "]:", port)
            : absl::StrCat(host, ":", port);
}

bool Address::IsLoopback() const {
  if (host == "localhost") return true;
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    return ntohl(v4.s_addr) >> 24 == 127;
  }
  in6_addr v6 = {};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 &&
         std::memcmp(&v6, &in6addr_loopback, sizeof(v6)) == 0;
}

absl::Status WhyNotListen(const Address& address) {
  absl::StatusOr<Resolved> found = Resolve(address);
  if (!found.ok()) return found.status();
  absl::Status status = absl::OkStatus();
  for (const addrinfo* one = found->get(); one != nullptr; one = one->ai_next) {
    const int fd = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
    const int on = 1;
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, one->ai_addr, one->ai_addrlen) != 0 || listen(fd, 1) != 0) {
      status = absl::UnavailableError(std::strerror(errno));
    }
    if (fd >= 0) close(fd);
  }
  return status;
}

void Knock(const Address& address) {
  absl::StatusOr<Resolved> found = Resolve(address);
  if (!found.ok()) return;
  const addrinfo& one = **found;
  const int fd =
      socket(one.ai_family, one.ai_socktype | SOCK_NONBLOCK, one.ai_protocol);
  if (fd < 0) return;
  // Whether it succeeds does not matter: then nobody listens any more.
  (void)connect(fd, one.ai_addr, one.ai_addrlen);
  close(fd);
}

}  // namespace chela
