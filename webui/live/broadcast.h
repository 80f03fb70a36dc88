// One text for many listeners: formatted once, shared by all, handed out in slices so that a round
// to thousands does not hold up a request. No socket.
//
// Only the newest text counts: a listener that is still busy with an older one gets the newest when
// it is done, and a round that has not finished when the next begins is overtaken by it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::live {

using Text = std::shared_ptr<const std::string>;

class Broadcast;

class Listener {
 public:
  Listener() = default;
  virtual ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  Listener(Listener&&) = delete;
  Listener& operator=(Listener&&) = delete;

  // May leave the broadcast, must not end another listener.
  virtual void hear(const Text& text) = 0;
  // The same for words that nobody else gets.
  virtual void say(std::string_view text) { hear(std::make_shared<const std::string>(text)); }
  // Earlier words are still on their way.
  virtual bool busy() const { return false; }
  bool listening() const { return to_ != nullptr; }

 private:
  friend class Broadcast;
  Broadcast* to_ = nullptr;
  Listener* before_ = nullptr;
  Listener* after_ = nullptr;
};

class Broadcast {
 public:
  Broadcast() = default;
  ~Broadcast();
  Broadcast(const Broadcast&) = delete;
  Broadcast& operator=(const Broadcast&) = delete;
  Broadcast(Broadcast&&) = delete;
  Broadcast& operator=(Broadcast&&) = delete;

  void add(Listener& listener);     // not in one yet; hears from the next round on
  void remove(Listener& listener);  // no-op if it is not in this one
  bool empty() const { return first_ == nullptr; }
  std::size_t size() const { return size_; }

  // Begins a round. step() carries it on.
  void publish(Text text);
  // Tells the next `listeners` of them; true when the round is over.
  bool step(std::size_t listeners);

 private:
  Listener* first_ = nullptr;
  Listener* next_ = nullptr;  // who hears next in this round
  std::size_t size_ = 0;
  Text text_;
};

}  // namespace lineq::live
