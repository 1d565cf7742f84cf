#include "server/engine/request.h"

namespace chela {

const char* Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "error";
}

const char* Name(CacheTier tier) {
  switch (tier) {
    case CacheTier::kNone:
      return "none";
    case CacheTier::kDevice:
      return "device";
    case CacheTier::kHost:
      return "host";
    case CacheTier::kDisk:
      return "disk";
  }
  return "none";
}

}  // namespace chela
