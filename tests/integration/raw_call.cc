#include "tests/integration/raw_call.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "tests/integration/server_rig.h"

namespace chela {
namespace {

// RFC 9113, 6: types and flags of frames.
constexpr char kData = 0, kHeaders = 1, kSettings = 4;
constexpr char kEndStream = 1, kEndHeaders = 4;

std::string BigEndian(size_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) {
    out += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return out;
}

std::string Frame(char type, char flags, uint32_t stream,
                  const std::string& payload) {
  std::string out = BigEndian(payload.size(), 3);
  out += type;
  out += flags;
  out += BigEndian(stream, 4);
  out += payload;
  return out;
}

// RFC 7541, 5.2: without Huffman; shorter than 127 bytes.
std::string Text(const std::string& text) {
  std::string out = BigEndian(text.size(), 1);
  out += text;
  return out;
}

// RFC 7541, 6.2.2: a literal that is not indexed, with a name of its own.
std::string Header(const std::string& name, const std::string& value) {
  std::string out(1, '\0');
  out += Text(name);
  out += Text(value);
  return out;
}

}  // namespace

RawCall::RawCall(int port, const std::string& method,
                 const std::string& timeout, const std::string& message)
    : fd_(ConnectTo(port)) {
  const std::string headers =
      Header(":method", "POST") + Header(":scheme", "http") +
      Header(":path", "/chela.v1.GenerationService/" + method) +
      Header(":authority", "localhost") + Header("te", "trailers") +
      Header("content-type", "application/grpc") +
      Header("grpc-timeout", timeout);
  // A message: not compressed, its length, its bytes.
  const std::string body = BigEndian(message.size(), 5) + message;
  const std::string all = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                          Frame(kSettings, 0, 0, "") +
                          Frame(kHeaders, kEndHeaders, 1, headers) +
                          Frame(kData, kEndStream, 1, body);
  EXPECT_EQ(send(fd_, all.data(), all.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(all.size()));
}

RawCall::~RawCall() { close(fd_); }

}  // namespace chela
