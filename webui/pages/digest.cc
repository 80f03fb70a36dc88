#include "webui/pages/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "shm/support/assert.h"

namespace lineq::pages {

std::array<unsigned char, 32> sha256(std::string_view text) {
  std::array<unsigned char, 32> digest{};
  unsigned bytes = 0;
  LINEQ_ASSERT(EVP_Digest(text.data(), text.size(), digest.data(), &bytes, EVP_sha256(), nullptr) ==
                   1 &&
               bytes == digest.size());
  return digest;
}

bool same_secret(std::string_view a, std::string_view b) {
  const auto x = sha256(a);
  const auto y = sha256(b);
  return CRYPTO_memcmp(x.data(), y.data(), x.size()) == 0;
}

}  // namespace lineq::pages
