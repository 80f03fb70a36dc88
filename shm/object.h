// One shared object, or a file that is a copy of one: create, open, reserve, map, lock, unlink.
//
// Anybody may make files in /dev/shm, and a reader may be somebody else by now. Nothing that is not
// a regular file of the expected user is taken, whatever it is nobody waits for it, and no lock
// that readers can hold keeps a writer out (Writer::attach).
//
// No byte is published before reserve() has reserved it: a bare truncate leaves holes, and the
// first touch of a hole on a full /dev/shm is SIGBUS (shm-design 2).
#pragma once

#include <string>

#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <sys/types.h>

#include "shm/reader.h"
#include "shm/support/result.h"

namespace lineq::shm {

std::string root_name(const std::string& instance);
std::string object_name(const std::string& instance, u32 number);
// 1 to 64 of letters, digits, '_', '-', '.', not starting with '.'.
bool valid_instance(std::string_view instance);

// A descriptor for reading, which boost's mapped_region takes. Boost's own classes would wait for
// whoever writes to a FIFO of this name.
class ReadOnlyFile {
 public:
  ReadOnlyFile() = default;
  // `path` is the name of a shared memory object, or a file.
  static ReadOnlyFile of_memory(const std::string& name);
  static ReadOnlyFile of_file(const std::string& path);
  ReadOnlyFile(ReadOnlyFile&& other) noexcept;
  ReadOnlyFile& operator=(ReadOnlyFile&& other) noexcept;
  ReadOnlyFile(const ReadOnlyFile&) = delete;
  ReadOnlyFile& operator=(const ReadOnlyFile&) = delete;
  ~ReadOnlyFile();

  int fd() const { return fd_; }  // below 0: errno says why
  boost::interprocess::mapping_handle_t get_mapping_handle() const;

 private:
  explicit ReadOnlyFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

inline constexpr mode_t kObjectMode = 0640;

class Object {
 public:
  Object() = default;
  Object(Object&&) = default;
  Object& operator=(Object&&) = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() = default;

  // Writer: a new object of `bytes`, all holes, mapped. kBusy when the name exists.
  static Result<Object> create(const std::string& name, u64 bytes, mode_t mode = kObjectMode);
  // Writer: an existing object of our own uid and mode 0640, mapped whole. kForeign when somebody
  // else's, or something else, stands there.
  static Result<Object> open_own(const std::string& name);
  // Writer: an empty object that only our own user can open, locked as by lock(), not mapped. It
  // stays when it is let go. kBusy when another process has it.
  static Result<Object> hold(const std::string& name);
  // Reader: mapped read-only, at least `least_bytes` long.
  static Result<Object> open_read_only(const Source& source, const std::string& name,
                                       u64 least_bytes);
  static bool unlink(const std::string& name);
  static bool exists(const std::string& name);  // whatever it is
  // This object, which is called `from`, gets mode 0640 and the name `to` in one step.
  Status take_name(const std::string& from, const std::string& to) const;

  u8* data() const { return static_cast<u8*>(region_.get_address()); }
  u64 bytes() const { return region_.get_size(); }
  bool mapped() const { return region_.get_address() != nullptr; }
  int fd() const { return fd_; }

  // kExhausted when the system has no memory left; [from, from + bytes) is then not to be touched.
  Status reserve(u64 from, u64 bytes) const;
  // All of it is reserved: no byte of it can be missing when it is touched.
  bool whole() const;
  // Fills page tables ahead of use; best effort.
  void populate(u64 from, u64 bytes) const;

  // OFD write lock on byte 0 for as long as the object is open (shm-design 2). kBusy when another
  // writer holds it; kForeign when a process that may only read has locked it for reading.
  Status lock() const;
  // The lock that readers can have: keeps writers out, not readers.
  Status lock_for_reading() const;
  // Whether a writer holds the lock; asks through a read-only descriptor.
  bool locked_by_other() const;
  u64 link_count() const;

 private:
  boost::interprocess::shared_memory_object shm_;
  ReadOnlyFile file_;
  boost::interprocess::mapped_region region_;
  int fd_ = -1;
};

}  // namespace lineq::shm
