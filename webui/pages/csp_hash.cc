#include "webui/pages/csp_hash.h"

#include <array>

#include <openssl/evp.h>

#include "shm/support/assert.h"

namespace lineq::pages {

std::string csp_hash(std::string_view inline_text) {
  std::array<unsigned char, 32> digest{};
  unsigned bytes = 0;
  LINEQ_ASSERT(EVP_Digest(inline_text.data(), inline_text.size(), digest.data(), &bytes,
                          EVP_sha256(), nullptr) == 1 &&
               bytes == digest.size());
  std::array<unsigned char, 45> text{};  // with a NUL behind it
  EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return "'sha256-" + std::string(reinterpret_cast<const char*>(text.data())) + "'";
}

}  // namespace lineq::pages
