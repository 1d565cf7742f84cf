#include "server/rpc/signed_state.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

using Signature = std::array<unsigned char, StateSigner::kSignatureBytes>;

Signature Hmac(const std::string& key, std::string_view bytes) {
  Signature signature{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
       signature.data(), &size);
  return signature;
}

}  // namespace

absl::StatusOr<StateSigner> StateSigner::Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("--state-key-file: cannot read \"", path, "\""));
  }
  std::string key(kMaxKeyBytes + 2, '\0');
  file.read(key.data(), static_cast<std::streamsize>(key.size()));
  key.resize(static_cast<size_t>(file.gcount()));
  if (!key.empty() && key.back() == '\n') key.pop_back();
  if (key.size() < kMinKeyBytes || key.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--state-key-file: \"", path, "\" has ",
        key.size() > kMaxKeyBytes ? "too many" : absl::StrCat(key.size()),
        " bytes; want ", kMinKeyBytes, " .. ", kMaxKeyBytes,
        " of a random key, like those of: openssl rand -hex 32"));
  }
  return StateSigner(std::move(key));
}

std::string StateSigner::Sign(std::string_view snapshot) const {
  const Signature signature = Hmac(key_, snapshot);
  std::string out(signature.begin(), signature.end());
  out.append(snapshot);
  return out;
}

absl::StatusOr<std::string_view> StateSigner::Verify(
    std::string_view bytes) const {
  if (bytes.size() >= kSignatureBytes) {
    const std::string_view snapshot = bytes.substr(kSignatureBytes);
    const Signature want = Hmac(key_, snapshot);
    // In constant time, so that no guess tells how far it was right.
    if (CRYPTO_memcmp(want.data(), bytes.data(), kSignatureBytes) == 0) {
      return snapshot;
    }
  }
  return absl::PermissionDeniedError(
      absl::StrCat("state: ", bytes.size(),
                   " bytes that were not signed with this server's key, or "
                   "changed since; want a state that it returned"));
}

}  // namespace chela
