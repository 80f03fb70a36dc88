// The only atomic accesses of the project: plain words in mapped memory, through std::atomic_ref.
//
// Shared structs hold plain u16/u32/u64 and stay trivially copyable; who loads or stores a word
// that the other side may touch at the same time does it here (shm-design 5). One size per
// location: a word stored as u64 is loaded as u64.
//
// Two kinds of order:
//   publish_fence / observe_fence   between threads: the halves of a seqlock
//   crash_order                     between a writer and the next daemon after a kill: all stores
//   of a dead thread arrive in
//                                   program order as compiled, so only the compiler has to be held
#pragma once

#include <atomic>
#include <type_traits>

#include "shm/support/ints.h"

namespace lineq::shm {

template <typename T>
concept Word = std::is_same_v<T, u16> || std::is_same_v<T, u32> || std::is_same_v<T, u64>;

static_assert(std::atomic_ref<u64>::is_always_lock_free);
static_assert(std::atomic_ref<u32>::is_always_lock_free);
static_assert(std::atomic_ref<u16>::is_always_lock_free);

namespace detail {
// atomic_ref wants a non-const object; the mapped object is not const, only this view of it is, and
// a load never writes.
template <Word T>
std::atomic_ref<T> ref(const T& word) {
  return std::atomic_ref<T>(const_cast<T&>(word));
}
}  // namespace detail

#ifdef LINEQ_TSAN
// ThreadSanitizer does not model fences: data accesses carry the order themselves, the protocol is
// the same.
inline constexpr std::memory_order kDataLoad = std::memory_order_acquire;
inline constexpr std::memory_order kDataStore = std::memory_order_release;
#else
inline constexpr std::memory_order kDataLoad = std::memory_order_relaxed;
inline constexpr std::memory_order kDataStore = std::memory_order_relaxed;
#endif

template <Word T>
T load_relaxed(const T& word) {
  return detail::ref(word).load(kDataLoad);
}
template <Word T>
T load_acquire(const T& word) {
  return detail::ref(word).load(std::memory_order_acquire);
}
template <Word T>
void store_relaxed(T& word, std::type_identity_t<T> value) {
  detail::ref(word).store(value, kDataStore);
}
template <Word T>
void store_release(T& word, std::type_identity_t<T> value) {
  detail::ref(word).store(value, std::memory_order_release);
}

// Writer: what was stored before is seen by whoever sees what is stored after. Pairs with
// observe_fence.
inline void publish_fence() {
#ifndef LINEQ_TSAN
  std::atomic_thread_fence(std::memory_order_release);
#endif
}
// Reader: what is loaded after is at least as new as what was loaded before. Pairs with
// publish_fence.
inline void observe_fence() {
#ifndef LINEQ_TSAN
  std::atomic_thread_fence(std::memory_order_acquire);
#endif
}
// Writer: the compiler keeps stores on their side, so that a kill leaves a prefix of the program's
// stores.
inline void crash_order() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// GCC takes a function that does nothing but prefetch for one without effect, and drops calls of it
// or a loop in it: the empty statements cost no instruction and keep them.
inline void prefetch(const void* address) {
  __builtin_prefetch(address);
  asm volatile("" : : "r"(address));
}
inline void prefetch_for_write(const void* address) {
  __builtin_prefetch(address, 1);
  asm volatile("" : : "r"(address));
}

}  // namespace lineq::shm
