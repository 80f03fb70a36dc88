#include "tools/lineq_dump/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace lineq::dump {

bool Output::flush() {
  std::size_t done = 0;
  while (errno_ == 0 && done < used_) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, used_ - done);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {  // somebody else made the terminal or pipe non-blocking
      pollfd ready{fd_, POLLOUT, 0};
      ::poll(&ready, 1, 1000);
    } else if (errno != EINTR || (stop_ != nullptr && *stop_ != 0)) {
      errno_ = errno;
    }
  }
  used_ = 0;
  return errno_ == 0;
}

}  // namespace lineq::dump
