#include "shm/object.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace lineq::shm {
namespace {

namespace bip = boost::interprocess;

constexpr mode_t kMode = 0640;

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

void Object::map(bip::mode_t mode, bool copy) {
  region_ = copy ? bip::mapped_region(file_, mode) : bip::mapped_region(shm_, mode);
  // An unlinked shared mapping is dumped by default; huge pages are harmless where the mount has no
  // huge= option.
  ::madvise(region_.get_address(), region_.get_size(), MADV_DONTDUMP);
  ::madvise(region_.get_address(), region_.get_size(), MADV_HUGEPAGE);
}

Result<Object> Object::create(const std::string& name, u64 bytes) {
  Object o;
  try {
    o.shm_ = bip::shared_memory_object(bip::create_only, name.c_str(), bip::read_write,
                                       bip::permissions(kMode));
  } catch (const bip::interprocess_exception& e) {
    return from(e, name, "create");
  }
  o.fd_ = o.shm_.get_mapping_handle().handle;
  try {
    o.shm_.truncate(static_cast<bip::offset_t>(bytes));
    o.map(bip::read_write, false);
  } catch (const bip::interprocess_exception& e) {
    unlink(name);
    return from(e, name, fmt::format("size it to {} bytes", bytes));
  }
  return o;
}

Result<Object> Object::open_own(const std::string& name) {
  Object o;
  try {
    o.shm_ = bip::shared_memory_object(bip::open_only, name.c_str(), bip::read_write);
    o.fd_ = o.shm_.get_mapping_handle().handle;
    struct stat st {};
    if (::fstat(o.fd_, &st) != 0) {
      return system_error(name, "stat", errno);
    }
    // /dev/shm is world-writable: another local user can squat the name.
    if (st.st_uid != ::geteuid() || (st.st_mode & 07777) != kMode) {
      return Error{
          ErrorCode::kForeign,
          fmt::format("shared memory object {}: owner {} mode {:o}, not ours (owner {} mode "
                      "{:o}): somebody took the name",
                      name, st.st_uid, st.st_mode & 07777, ::geteuid(), kMode)};
    }
    if (st.st_size == 0) {
      return Error{ErrorCode::kDamaged, fmt::format("shared memory object {}: empty", name)};
    }
    o.map(bip::read_write, false);
  } catch (const bip::interprocess_exception& e) {
    return from(e, name, "open");
  }
  return o;
}

Result<Object> Object::open_read_only(const Source& source, const std::string& name,
                                      u64 least_bytes) {
  Object o;
  try {
    if (source.directory.empty()) {
      o.shm_ = bip::shared_memory_object(bip::open_only, name.c_str(), bip::read_only);
      o.fd_ = o.shm_.get_mapping_handle().handle;
    } else {
      o.file_ = bip::file_mapping((source.directory + "/" + name).c_str(), bip::read_only);
      o.fd_ = o.file_.get_mapping_handle().handle;
    }
    struct stat st {};
    if (::fstat(o.fd_, &st) != 0) {
      return system_error(name, "stat", errno);
    }
    if (source.owner_uid >= 0 && st.st_uid != static_cast<uid_t>(source.owner_uid)) {
      return Error{ErrorCode::kForeign,
                   fmt::format("shared memory object {}: owner {}, expected {}", name, st.st_uid,
                               source.owner_uid)};
    }
    if (st.st_size <= 0 || static_cast<u64>(st.st_size) < least_bytes) {
      return Error{ErrorCode::kDamaged, fmt::format("shared memory object {}: {} bytes, {} needed",
                                                    name, st.st_size, least_bytes)};
    }
    o.map(bip::read_only, !source.directory.empty());
  } catch (const bip::interprocess_exception& e) {
    Error error = from(e, name, "open");
    if (e.get_native_error() == EACCES) {
      error.what +=
          who_may_read((source.directory.empty() ? "/dev/shm" : source.directory) + "/" + name);
    }
    return error;
  }
  return o;
}

bool Object::unlink(const std::string& name) {
  return bip::shared_memory_object::remove(name.c_str());
}

Status Object::reserve(u64 from, u64 bytes) const {
  int rc = EINTR;
  while (rc == EINTR) {
    rc = ::posix_fallocate(fd_, static_cast<off_t>(from), static_cast<off_t>(bytes));
  }
  if (rc != 0) {
    return Error{rc == ENOSPC || rc == ENOMEM ? ErrorCode::kExhausted : ErrorCode::kSystem,
                 fmt::format("reserve {} bytes of shared memory: {}", bytes, std::strerror(rc))};
  }
  return {};
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
  struct flock fl {};
  fl.l_type = F_WRLCK;
  fl.l_whence = SEEK_SET;
  fl.l_len = 1;
  if (::fcntl(fd_, F_OFD_SETLK, &fl) == 0) {
    return {};
  }
  if (errno == EAGAIN || errno == EACCES) {
    return Error{ErrorCode::kBusy, "another lineqd runs on this instance"};
  }
  return Error{ErrorCode::kSystem, fmt::format("lock the segment: {}", std::strerror(errno))};
}

bool Object::locked_by_other() const {
  // Filled anew for every call: the kernel overwrites it and rejects a non-zero l_pid.
  struct flock fl {};
  fl.l_type = F_RDLCK;
  fl.l_whence = SEEK_SET;
  fl.l_len = 1;
  return ::fcntl(fd_, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

u64 Object::link_count() const {
  struct stat st {};
  return ::fstat(fd_, &st) == 0 ? st.st_nlink : 0;
}

}  // namespace lineq::shm
