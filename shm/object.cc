#include "shm/object.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

namespace lineq::shm {
namespace {

namespace bip = boost::interprocess;

constexpr mode_t kRights = 07777;

std::string path_of(const std::string& name) {
  return "/dev/shm/" + name;
}

Error system_error(const std::string& name, std::string_view doing, int code) {
  const ErrorCode kind = code == ENOENT ? ErrorCode::kNotFound
                         : code == ENOSPC || code == ENOMEM || code == EMFILE || code == ENFILE
                             ? ErrorCode::kExhausted
                         : code == EEXIST ? ErrorCode::kBusy
                                          : ErrorCode::kSystem;
  return {kind, fmt::format("shared memory object {}: {}: {}", name, doing, std::strerror(code))};
}

Error from(const bip::interprocess_exception& e, const std::string& name, std::string_view doing) {
  return system_error(name, doing, e.get_native_error() != 0 ? e.get_native_error() : EIO);
}

std::string_view kind_of(const struct stat& st) {
  switch (st.st_mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symbolic link";
    case S_IFIFO:
      return "FIFO";
    default:
      return "special file";
  }
}

bool is_ours(const struct stat& st) {
  return S_ISREG(st.st_mode) && st.st_uid == ::geteuid() && (st.st_mode & kRights) == kObjectMode;
}

// /dev/shm is world-writable: another local user can squat the name.
Error not_ours(const std::string& name, const struct stat& st, mode_t mode = kObjectMode) {
  return {ErrorCode::kForeign,
          fmt::format("shared memory object {}: {}, owner {} mode {:o}, not ours (owner {} mode "
                      "{:o}): somebody took the name",
                      name, kind_of(st), st.st_uid, st.st_mode & kRights, ::geteuid(), mode)};
}

// Filled anew for every call: the kernel overwrites it and rejects a non-zero l_pid.
struct flock lock_of(short type) {
  struct flock fl {};
  fl.l_type = type;
  fl.l_whence = SEEK_SET;
  fl.l_len = 1;
  return fl;
}

void advise(const bip::mapped_region& region) {
  // An unlinked shared mapping is dumped by default; huge pages are harmless where the mount has no
  // huge= option.
  ::madvise(region.get_address(), region.get_size(), MADV_DONTDUMP);
  ::madvise(region.get_address(), region.get_size(), MADV_HUGEPAGE);
}

// For a reader that was refused. Whose group a file has is no secret.
std::string who_may_read(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0 || (st.st_mode & S_IRGRP) == 0) {
    return {};
  }
  const group* found = ::getgrgid(st.st_gid);
  return fmt::format(" (members of group {} may read it)",
                     found == nullptr ? std::to_string(st.st_gid) : found->gr_name);
}

// For whoever has to make room.
std::string what_is_left(int fd) {
  struct statvfs fs {};
  return ::fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0
             ? ""
             : fmt::format(", where {} of {} are free", fs.f_bavail * fs.f_frsize,
                           fs.f_blocks * fs.f_frsize);
}

}  // namespace

std::string root_name(const std::string& instance) {
  return "lineq." + instance + ".root";
}

std::string object_name(const std::string& instance, u32 number) {
  return fmt::format("lineq.{}.{:08x}", instance, number);
}

bool valid_instance(std::string_view instance) {
  if (instance.empty() || instance.size() > 64 || instance.front() == '.') {
    return false;
  }
  for (const char c : instance) {
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || c == '.';
    if (!ok) {
      return false;
    }
  }
  return true;
}

ReadOnlyFile ReadOnlyFile::of_memory(const std::string& name) {
  // Follows no link and is close-on-exec by itself.
  return ReadOnlyFile(::shm_open(("/" + name).c_str(), O_RDONLY | O_NONBLOCK, 0));
}
ReadOnlyFile ReadOnlyFile::of_file(const std::string& path) {
  return ReadOnlyFile(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}
ReadOnlyFile::ReadOnlyFile(ReadOnlyFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
ReadOnlyFile& ReadOnlyFile::operator=(ReadOnlyFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
ReadOnlyFile::~ReadOnlyFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}
bip::mapping_handle_t ReadOnlyFile::get_mapping_handle() const {
  return {fd_, false};
}

Result<Object> Object::create(const std::string& name, u64 bytes, mode_t mode) {
  Object o;
  try {
    o.shm_ = bip::shared_memory_object(bip::create_only, name.c_str(), bip::read_write,
                                       bip::permissions(static_cast<int>(mode)));
  } catch (const bip::interprocess_exception& e) {
    return from(e, name, "create");
  }
  o.fd_ = o.shm_.get_mapping_handle().handle;
  try {
    o.shm_.truncate(static_cast<bip::offset_t>(bytes));
    o.region_ = bip::mapped_region(o.shm_, bip::read_write);
  } catch (const bip::interprocess_exception& e) {
    unlink(name);
    return from(e, name, fmt::format("size it to {} bytes", bytes));
  }
  advise(o.region_);
  return o;
}

Result<Object> Object::open_own(const std::string& name) {
  Object o;
  struct stat st {};
  try {
    o.shm_ = bip::shared_memory_object(bip::open_only, name.c_str(), bip::read_write);
    o.fd_ = o.shm_.get_mapping_handle().handle;
    if (::fstat(o.fd_, &st) != 0) {
      return system_error(name, "stat", errno);
    }
    if (!is_ours(st)) {
      return not_ours(name, st);
    }
    if (st.st_size == 0) {
      return Error{ErrorCode::kDamaged, fmt::format("shared memory object {}: empty", name)};
    }
    o.region_ = bip::mapped_region(o.shm_, bip::read_write);
  } catch (const bip::interprocess_exception& e) {
    Error error = from(e, name, "open");
    // What cannot even be opened: a link, a directory, a file that lets nobody in.
    if (error.code == ErrorCode::kSystem && ::lstat(path_of(name).c_str(), &st) == 0 &&
        !is_ours(st)) {
      return not_ours(name, st);
    }
    return error;
  }
  advise(o.region_);
  return o;
}

Result<Object> Object::hold(const std::string& name) {
  constexpr mode_t kOnlyUs = 0600;
  Object o;
  struct stat st {};
  try {
    o.shm_ = bip::shared_memory_object(bip::open_or_create, name.c_str(), bip::read_write,
                                       bip::permissions(kOnlyUs));
  } catch (const bip::interprocess_exception& e) {
    return from(e, name, "open");
  }
  o.fd_ = o.shm_.get_mapping_handle().handle;
  if (::fstat(o.fd_, &st) != 0) {
    return system_error(name, "stat", errno);
  }
  if (!S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & kRights & ~kOnlyUs) != 0) {
    return not_ours(name, st, kOnlyUs);
  }
  if (Status locked = o.lock(); !locked) {
    return locked.error();
  }
  return o;
}

Result<Object> Object::open_read_only(const Source& source, const std::string& name,
                                      u64 least_bytes) {
  const bool copy = !source.directory.empty();
  const std::string path = copy ? source.directory + "/" + name : path_of(name);
  Object o;
  o.file_ = copy ? ReadOnlyFile::of_file(path) : ReadOnlyFile::of_memory(name);
  o.fd_ = o.file_.fd();
  struct stat st {};
  if (o.fd_ < 0) {
    const int code = errno;
    Error error = system_error(name, "open", code);
    if (code == EACCES) {
      error.what += who_may_read(path);
    } else if (code == ELOOP && ::lstat(path.c_str(), &st) == 0) {
      return Error{ErrorCode::kForeign, fmt::format("shared memory object {}: a {} of owner {}, "
                                                    "which is not followed",
                                                    name, kind_of(st), st.st_uid)};
    }
    return error;
  }
  if (::fstat(o.fd_, &st) != 0) {
    return system_error(name, "stat", errno);
  }
  if (!S_ISREG(st.st_mode)) {
    return Error{ErrorCode::kForeign, fmt::format("shared memory object {}: a {} of owner {}, not "
                                                  "memory of lineqd's",
                                                  name, kind_of(st), st.st_uid)};
  }
  if (source.owner_uid >= 0 && st.st_uid != static_cast<uid_t>(source.owner_uid)) {
    return Error{ErrorCode::kForeign, fmt::format("shared memory object {}: owner {}, expected {}",
                                                  name, st.st_uid, source.owner_uid)};
  }
  if (st.st_size <= 0 || static_cast<u64>(st.st_size) < least_bytes) {
    return Error{ErrorCode::kDamaged, fmt::format("shared memory object {}: {} bytes, {} needed",
                                                  name, st.st_size, least_bytes)};
  }
  try {
    o.region_ = bip::mapped_region(o.file_, bip::read_only);
  } catch (const bip::interprocess_exception& e) {
    return from(e, name, "map");
  }
  advise(o.region_);
  return o;
}

bool Object::unlink(const std::string& name) {
  return bip::shared_memory_object::remove(name.c_str());
}

bool Object::exists(const std::string& name) {
  struct stat st {};
  return ::lstat(path_of(name).c_str(), &st) == 0;
}

Status Object::take_name(const std::string& from, const std::string& to) const {
  if (::fchmod(fd_, kObjectMode) != 0 ||
      ::rename(path_of(from).c_str(), path_of(to).c_str()) != 0) {
    return system_error(from, fmt::format("rename it to {}", to), errno);
  }
  return {};
}

Status Object::reserve(u64 from, u64 bytes) const {
  int rc = EINTR;
  while (rc == EINTR) {
    rc = ::posix_fallocate(fd_, static_cast<off_t>(from), static_cast<off_t>(bytes));
  }
  if (rc != 0) {
    return Error{rc == ENOSPC || rc == ENOMEM ? ErrorCode::kExhausted : ErrorCode::kSystem,
                 fmt::format("reserve {} bytes of shared memory{}: {}", bytes, what_is_left(fd_),
                             std::strerror(rc))};
  }
  return {};
}

bool Object::whole() const {
  constexpr i64 kBlock = 512;
  struct stat st {};
  return ::fstat(fd_, &st) == 0 && st.st_blocks * kBlock >= st.st_size;
}

void Object::populate(u64 from, u64 bytes) const {
#ifdef MADV_POPULATE_WRITE
  constexpr int kPopulateWrite = MADV_POPULATE_WRITE;
#else
  constexpr int kPopulateWrite = 23;  // Linux 5.14
#endif
  ::madvise(data() + from / kPage * kPage, bytes, kPopulateWrite);
}

Status Object::lock() const {
  struct flock fl = lock_of(F_WRLCK);
  if (::fcntl(fd_, F_OFD_SETLK, &fl) == 0) {
    return {};
  }
  if (errno != EAGAIN && errno != EACCES) {
    return Error{ErrorCode::kSystem, fmt::format("lock the segment: {}", std::strerror(errno))};
  }
  fl = lock_of(F_WRLCK);
  if (::fcntl(fd_, F_OFD_GETLK, &fl) == 0 && fl.l_type == F_RDLCK) {
    return Error{ErrorCode::kForeign, "a process that may only read the segment has locked it"};
  }
  return Error{ErrorCode::kBusy, "another lineqd runs on this instance"};
}

Status Object::lock_for_reading() const {
  struct flock fl = lock_of(F_RDLCK);
  if (::fcntl(fd_, F_OFD_SETLK, &fl) != 0) {
    return Error{ErrorCode::kBusy, "another lineqd runs on this instance"};
  }
  return {};
}

bool Object::locked_by_other() const {
  struct flock fl = lock_of(F_RDLCK);
  return ::fcntl(fd_, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

u64 Object::link_count() const {
  struct stat st {};
  return ::fstat(fd_, &st) == 0 ? st.st_nlink : 0;
}

}  // namespace lineq::shm
