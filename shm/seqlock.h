// Read and write an image under a sequence word (shm-design 5).
//
// Why a reader is right: if one of its relaxed loads sees a word of update n, the writer's release
// fence and the reader's acquire fence synchronise through that word, so its second load of the
// sequence sees at least the odd value of n and the copy is thrown away. If it sees only older
// words, the even value it began with was theirs.
#pragma once

#include <sched.h>

#include <span>

#include "shm/words.h"

namespace lineq::shm {

// Writer. (q | 1) + 1 also repairs a sequence left odd by a crash.
template <typename Store>
void seqlock_write(u32& seq, Store&& store) {
  const u32 odd = seq | 1;
  store_relaxed(seq, odd);
  publish_fence();  // odd before data; pairs with observe_fence below
  store();
  store_release(seq, odd + 1);  // data before even; pairs with load_acquire below
}

// Reader. False when the writer was in the middle all the time (preempted there): come back later.
template <typename Load>
bool seqlock_read(const u32& seq, Load&& load) {
  for (int attempt = 0; attempt < 80; ++attempt) {
    const u32 before = load_acquire(seq);  // pairs with store_release above
    if ((before & 1) == 0) {
      load();
      observe_fence();  // data before the second look; pairs with publish_fence above
      if (load_relaxed(seq) == before) {
        return true;
      }
    }
    if (attempt < 64) {
      cpu_pause();
    } else {
      ::sched_yield();
    }
  }
  return false;
}

}  // namespace lineq::shm
