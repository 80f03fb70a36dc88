// Stands in for shm/words.h when the code that uses it is explored (tests/model/explorer.h): stores
// of the writer are kept with all that C++'s memory model says of them, loads of the reader ask
// which of them it sees.
#pragma once

#include <cstring>
#include <type_traits>

#include "shm/support/ints.h"
#include "tests/model/explorer.h"

namespace lineq::shm {

template <typename T>
concept Word = std::is_same_v<T, u16> || std::is_same_v<T, u32> || std::is_same_v<T, u64>;

template <Word T>
T load_relaxed(const T& word) {
  return static_cast<T>(model::explorer().load(&word, word, false));
}
template <Word T>
T load_acquire(const T& word) {
  return static_cast<T>(model::explorer().load(&word, word, true));
}
template <Word T>
void store_relaxed(T& word, std::type_identity_t<T> value) {
  model::explorer().store(&word, word, value, false);
  word = value;
}
template <Word T>
void store_release(T& word, std::type_identity_t<T> value) {
  model::explorer().store(&word, word, value, true);
  word = value;
}
inline void publish_fence() {
  model::explorer().publish_fence();
}
inline void observe_fence() {
  model::explorer().observe_fence();
}
inline void crash_order() {}
inline void cpu_pause() {
  model::explorer().pause();
}
inline void prefetch(const void*) {}
inline void prefetch_for_write(const void*) {}

}  // namespace lineq::shm
