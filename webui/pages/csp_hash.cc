#include "webui/pages/csp_hash.h"

#include <array>

#include <openssl/evp.h>

#include "webui/pages/digest.h"

namespace lineq::pages {

std::string csp_hash(std::string_view inline_text) {
  const auto digest = sha256(inline_text);
  std::array<unsigned char, 45> text{};  // with a NUL behind it
  EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return "'sha256-" + std::string(reinterpret_cast<const char*>(text.data())) + "'";
}

}  // namespace lineq::pages
