#include "tests/support/small_mount.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "tests/support/net.h"
#include "tests/support/process.h"

namespace lineq::test {
namespace {

// Once: mounts of our own from here on. "" or why not.
std::string own_mounts() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
    return fmt::format("no namespace of our own: {}", std::strerror(errno));
  }
  if (uid != 0) {
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", fmt::format("{0} {0} 1", uid));
    write_file("/proc/self/gid_map", fmt::format("{0} {0} 1", gid));
  }
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return fmt::format("mounts cannot be made private: {}", std::strerror(errno));
  }
  return "";
}

}  // namespace

SmallMount::SmallMount(std::string directory, u64 bytes) : directory_(std::move(directory)) {
  static const std::string kOwn = own_mounts();
  trouble_ = kOwn;
  if (trouble_.empty() && ::mount("tmpfs", directory_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
                                  fmt::format("mode=1777,size={}", bytes).c_str()) != 0) {
    trouble_ = fmt::format("nothing can be mounted: {}", std::strerror(errno));
  }
}

SmallMount::~SmallMount() {
  if (trouble_.empty()) {
    ::umount2(directory_.c_str(), MNT_DETACH);
  }
}

void SmallMount::resize(u64 bytes) const {
  ::mount("tmpfs", directory_.c_str(), "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV,
          fmt::format("size={}", bytes).c_str());
}

u64 SmallMount::free_bytes() const {
  struct statvfs fs {};
  return ::statvfs(directory_.c_str(), &fs) == 0 ? fs.f_bfree * fs.f_frsize : 0;
}

void SmallMount::fill(u64 leave) const {
  constexpr mode_t kMode = 0600;
  const Fd file(::open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
  const std::string piece(u64{64} << 10, 'x');
  for (u64 left = free_bytes(); left > leave; left = free_bytes()) {
    if (::write(file.get(), piece.data(), std::min<u64>(piece.size(), left - leave)) <= 0) {
      return;
    }
  }
}

void SmallMount::unfill() const {
  ::unlink(filler().c_str());
}

}  // namespace lineq::test
