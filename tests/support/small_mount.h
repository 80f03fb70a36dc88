// A file system of a few megabytes in place of a directory, /dev/shm say, for this test program and
// all that it starts from the same thread; the machine sees nothing of it.
#pragma once

#include <string>

#include "shm/support/ints.h"

namespace lineq::test {

class SmallMount {
 public:
  SmallMount(std::string directory, u64 bytes);
  SmallMount(const SmallMount&) = delete;
  SmallMount& operator=(const SmallMount&) = delete;
  ~SmallMount();

  // Why it is not there: this machine does not let us; "" when it is.
  const std::string& trouble() const { return trouble_; }
  void resize(u64 bytes) const;
  u64 free_bytes() const;
  // Somebody else's file, which leaves so much.
  void fill(u64 leave = 0) const;
  void unfill() const;

 private:
  std::string filler() const { return directory_ + "/somebody-elses"; }

  std::string directory_;
  std::string trouble_;
};

}  // namespace lineq::test
