#ifndef CHELA_SERVER_RPC_RAW_MESSAGE_H_
#define CHELA_SERVER_RPC_RAW_MESSAGE_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/proto_buffer_reader.h>

namespace chela {

// Streams of requests decode their messages themselves: gRPC reports one that
// it cannot decode as the end of the stream.

template <typename Message>
bool Decode(grpc::ByteBuffer& bytes, Message& out) {
  grpc::ProtoBufferReader reader(&bytes);
  return reader.status().ok() && out.ParseFromZeroCopyStream(&reader);
}

template <typename Message>
grpc::ByteBuffer Encode(const Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

}  // namespace chela

#endif  // CHELA_SERVER_RPC_RAW_MESSAGE_H_
