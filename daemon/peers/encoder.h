// Messages to bytes, appended to an OutputBuffer. Free functions; what a session remembers between
// two messages (ids, definitions sent, strings known) is Session's business.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "daemon/peers/message.h"
#include "daemon/peers/string_cache.h"

namespace lineq::peers {

// Bytes waiting to be sent. Grows as needed, keeps its memory; nothing is initialised twice.
// room() and consumed() may move the bytes: a span from pending() is good until the next call.
class OutputBuffer {
 public:
  OutputBuffer() = default;
  OutputBuffer(OutputBuffer&& other) noexcept { swap(other); }
  OutputBuffer& operator=(OutputBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;
  ~OutputBuffer() = default;

  void swap(OutputBuffer& other) noexcept {
    data_.swap(other.data_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
  }

  std::span<const u8> pending() const { return {data_.get() + begin_, end_ - begin_}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }

  // The first `bytes` of pending() are out.
  void consumed(size_t bytes);
  void clear() { begin_ = end_ = 0; }

  // At least `bytes` writable bytes behind the pending ones; commit() says how many were used.
  u8* room(size_t bytes) {
    if (capacity_ - end_ < bytes) {
      grow(bytes);
    }
    return data_.get() + end_;
  }
  void commit(size_t bytes) { end_ += bytes; }

  void append(std::span<const u8> bytes);
  void append(std::string_view text);

 private:
  void grow(size_t bytes);

  std::unique_ptr<u8[]> data_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

void encode_hello(OutputBuffer& out, const Hello& hello);  // all three lines
void encode_status(OutputBuffer& out, u32 code);
void encode_control(OutputBuffer& out, Control control);
void encode_error(OutputBuffer& out, ProtocolError error);
void encode_definition(OutputBuffer& out, const Definition& definition);
void encode_switch(OutputBuffer& out, u32 table_id);
void encode_ack(OutputBuffer& out, const Ack& ack);

// Appends one row as `type` 128, 129, 133 or 134; the incremental types carry no id, the untimed
// ones no expire_ms. `key` as in Update (a binary key may be shorter, it is filled with zeros),
// `cells` as in Update, shape.cells() of them; a dictionary id without text goes out as "none".
// False = nothing appended: the key does not go with the table, or the message would be larger than
// kMaxMessageOut.
bool encode_update(OutputBuffer& out, u8 type, u32 id, u32 expire_ms,
                   const shm::TableDefinition& table, const RowShape& shape,
                   std::span<const u8> key, std::span<const u64> cells, SentStrings& sent,
                   Strings& strings);

}  // namespace lineq::peers
