#include "webui/live/broadcast.h"

#include <utility>

#include "shm/support/assert.h"

namespace lineq::live {

Listener::~Listener() {
  if (to_ != nullptr) {
    to_->remove(*this);
  }
}

Broadcast::~Broadcast() {
  while (first_ != nullptr) {
    remove(*first_);
  }
}

void Broadcast::add(Listener& listener) {
  LINEQ_ASSERT(listener.to_ == nullptr);
  listener.to_ = this;
  listener.before_ = nullptr;
  listener.after_ = first_;
  if (first_ != nullptr) {
    first_->before_ = &listener;
  }
  first_ = &listener;  // in front of a round under way: it hears the next
  ++size_;
}

void Broadcast::remove(Listener& listener) {
  if (listener.to_ != this) {
    return;
  }
  if (next_ == &listener) {
    next_ = listener.after_;
  }
  (listener.before_ == nullptr ? first_ : listener.before_->after_) = listener.after_;
  if (listener.after_ != nullptr) {
    listener.after_->before_ = listener.before_;
  }
  listener.to_ = nullptr;
  listener.before_ = nullptr;
  listener.after_ = nullptr;
  --size_;
}

void Broadcast::publish(Text text) {
  text_ = std::move(text);
  next_ = first_;
}

bool Broadcast::step(std::size_t listeners) {
  while (next_ != nullptr && listeners-- > 0) {
    Listener& now = *next_;
    next_ = now.after_;  // before it hears: it may leave
    now.hear(text_);
  }
  return next_ == nullptr;
}

}  // namespace lineq::live
