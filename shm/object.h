// One shared object, or a file that is a copy of one: create, open, reserve, map, lock, unlink.
//
// No byte is published before reserve() has reserved it: a bare truncate leaves holes, and the
// first touch of a hole on a full /dev/shm is SIGBUS (shm-design 2).
#pragma once

#include <string>

#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>

#include "shm/reader.h"
#include "shm/support/result.h"

namespace lineq::shm {

std::string root_name(const std::string& instance);
std::string object_name(const std::string& instance, u32 number);
// 1 to 64 of letters, digits, '_', '-', '.', not starting with '.'.
bool valid_instance(std::string_view instance);

class Object {
 public:
  Object() = default;
  Object(Object&&) = default;
  Object& operator=(Object&&) = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() = default;

  // Writer: a new object of `bytes`, all holes, mode 0640, mapped. kBusy when the name exists.
  static Result<Object> create(const std::string& name, u64 bytes);
  // Writer: an existing object of our own uid and mode 0640, mapped whole. kForeign when it is
  // somebody else's.
  static Result<Object> open_own(const std::string& name);
  // Reader: mapped read-only, at least `least_bytes` long.
  static Result<Object> open_read_only(const Source& source, const std::string& name,
                                       u64 least_bytes);
  static bool unlink(const std::string& name);

  u8* data() const { return static_cast<u8*>(region_.get_address()); }
  u64 bytes() const { return region_.get_size(); }
  bool mapped() const { return region_.get_address() != nullptr; }
  int fd() const { return fd_; }

  // kExhausted when the system has no memory left; [from, from + bytes) is then not to be touched.
  Status reserve(u64 from, u64 bytes) const;
  // Fills page tables ahead of use; best effort.
  void populate(u64 from, u64 bytes) const;

  // OFD write lock on byte 0 for as long as the object is open (shm-design 2). kBusy when another
  // process holds it.
  Status lock() const;
  // Whether a writer holds the lock; asks through a read-only descriptor.
  bool locked_by_other() const;
  u64 link_count() const;

 private:
  void map(boost::interprocess::mode_t mode, bool copy);

  boost::interprocess::shared_memory_object shm_;
  boost::interprocess::file_mapping file_;
  boost::interprocess::mapped_region region_;
  int fd_ = -1;
};

}  // namespace lineq::shm
