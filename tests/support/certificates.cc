#include "tests/support/certificates.h"

#include <cstdlib>

#include <fmt/format.h>

namespace lineq::test {
namespace {

void openssl(std::vector<std::string> words) {
  words.insert(words.begin(), "/usr/bin/openssl");
  Command command;
  command.words = std::move(words);
  if (const Finished finished = run(command); finished.exit_code != 0) {
    fmt::print(stderr, "openssl: {}{}\n", finished.out, finished.err);
    std::abort();
  }
}

std::vector<std::string> new_key(const std::string& file) {
  return {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file};
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

Authority::Authority(const TempDir& dir, std::string name)
    : dir_(dir),
      name_(std::move(name)),
      ca_(dir.file(name_ + ".pem")),
      key_(dir.file(name_ + ".key")) {
  openssl(
      joined({"req", "-x509", "-days", "2", "-subj", "/CN=" + name_, "-out", ca_}, new_key(key_)));
}

std::string Authority::make(const std::string& file, const std::string& subject,
                            const std::string& alternative, int days) const {
  std::string path = dir_.file(file);
  const std::string extensions = path + ".ext";
  write_file(extensions,
             fmt::format("basicConstraints=CA:FALSE\n{}",
                         alternative.empty() ? "" : "subjectAltName=" + alternative + "\n"));
  openssl(
      joined({"req", "-subj", "/CN=" + subject, "-out", path + ".csr"}, new_key(path + ".key")));
  openssl({"x509", "-req", "-in", path + ".csr", "-CA", ca_, "-CAkey", key_, "-CAcreateserial",
           "-days", std::to_string(days), "-extfile", extensions, "-out", path + ".crt"});
  // In one step: a HAProxy or a lineqd may read it at any time.
  write_file(path + ".new", read_file(path + ".crt") + read_file(path + ".key"));
  std::rename((path + ".new").c_str(), path.c_str());
  return path;
}

}  // namespace lineq::test
