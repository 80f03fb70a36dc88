// Certificates for tests, made on the spot with the openssl program: nothing of the kind is in the
// repository.
#pragma once

#include <string>
#include <vector>

#include "tests/support/instance.h"

namespace lineq::test {

// An authority of a test's own and what it signs; files in the test's directory.
class Authority {
 public:
  // `name`: of the files, and the authority's common name.
  Authority(const TempDir& dir, std::string name);

  const std::string& ca() const { return ca_; }  // the authority's own certificate
  // A PEM file with certificate and key, as HAProxy's crt. `subject` is the common name;
  // `alternative` as in "DNS:localhost,IP:127.0.0.1". Negative days: expired already.
  std::string make(const std::string& file, const std::string& subject,
                   const std::string& alternative = "", int days = 2) const;

 private:
  const TempDir& dir_;
  std::string name_;
  std::string ca_;
  std::string key_;
};

}  // namespace lineq::test
