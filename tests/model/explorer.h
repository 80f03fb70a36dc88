// What one reader may see of one writer, all of it: stateless model checking of C++'s memory model.
//
// The writer runs first, alone, and each of its stores becomes a message in the history of its
// word. As it never reads what the reader writes, when the reader runs makes no difference but for
// which messages its loads return; so explore() runs the reader again and again, once for each
// combination of messages that its loads may return. What a load may return follows from views, as
// in the operational models of release and acquire (Kang and others, "A promising semantics for
// relaxed-memory concurrency", 2017, without promises, which concern stores of readers): a thread
// never goes back in a word's history; a release store or fence hands over what the writer knew, an
// acquire load or fence takes it.
//
// Out-of-order stores and loads, stale caches and preemption at any instruction are all among it.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "shm/support/assert.h"
#include "shm/support/ints.h"

namespace lineq::model {

// Orders that are taken away, to see that a test would notice.
enum class Without { kNothing, kPublishFence, kObserveFence, kRelease, kAcquire };

struct Pruned {};  // thrown in a run of which nothing new is to be learned

class Explorer {
 public:
  // The writer's part of `action` is kept; words have the values they had before.
  template <typename Do>
  void record(Do&& action) {
    recording_ = true;
    action();
    recording_ = false;
  }
  // Runs `read` for all that it may see; how many runs there were, without those pruned.
  u64 explore(const std::function<void()>& read) {
    constexpr u64 kMost = 50'000'000;
    u64 runs = 0;
    u64 tried = 0;
    choices_.clear();
    exploring_ = true;
    do {
      LINEQ_ASSERT(++tried < kMost);
      next_choice_ = 0;
      pauses_ = 0;
      reader_ = {};
      acquired_later_ = {};
      try {
        read();
        ++runs;
      } catch (const Pruned&) {
      }
    } while (next_path());
    exploring_ = false;
    return runs;
  }
  Without without = Without::kNothing;

  // --- from shm/words.h
  void store(const void* address, u64 before, u64 value, bool release) {
    if (!recording_) {
      return;
    }
    const auto [at, is_new] = words_.try_emplace(address, words_.size());
    if (is_new) {
      histories_.push_back({{before, {}}});
    }
    std::vector<Message>& history = histories_[at->second];
    writer_.raise(at->second, static_cast<u32>(history.size()));
    Message message{value, release && without != Without::kRelease ? writer_ : published_};
    message.view.raise(at->second, static_cast<u32>(history.size()));
    history.push_back(std::move(message));
  }
  void publish_fence() {
    if (recording_ && without != Without::kPublishFence) {
      published_ = writer_;
    }
  }
  u64 load(const void* address, u64 now, bool acquire) {
    const auto at = exploring_ ? words_.find(address) : words_.end();
    if (at == words_.end()) {
      return now;
    }
    const std::vector<Message>& history = histories_[at->second];
    const u32 oldest = reader_.at(at->second);
    const u32 index = oldest + choose(static_cast<u32>(history.size()) - oldest);
    reader_.raise(at->second, index);
    if (acquire && without != Without::kAcquire) {
      reader_.join(history[index].view);
    }
    acquired_later_.join(history[index].view);
    return history[index].value;
  }
  void observe_fence() {
    if (exploring_ && without != Without::kObserveFence) {
      reader_.join(acquired_later_);
    }
  }
  // A second attempt is enough: a third one sees nothing that it could not.
  void pause() {
    if (++pauses_ > 1) {
      throw Pruned();
    }
  }

 private:
  // Of each word, the oldest message that may still be seen.
  class View {
   public:
    u32 at(std::size_t word) const { return word < oldest_.size() ? oldest_[word] : 0; }
    void raise(std::size_t word, u32 to) {
      if (word >= oldest_.size()) {
        oldest_.resize(word + 1);
      }
      oldest_[word] = oldest_[word] < to ? to : oldest_[word];
    }
    void join(const View& other) {
      for (std::size_t i = 0; i < other.oldest_.size(); ++i) {
        raise(i, other.oldest_[i]);
      }
    }

   private:
    std::vector<u32> oldest_;
  };
  struct Message {
    u64 value;
    View view;
  };
  struct Choice {
    u32 chosen;
    u32 of;
  };

  u32 choose(u32 of) {
    if (of == 1) {
      return 0;
    }
    if (next_choice_ == choices_.size()) {
      choices_.push_back({0, of});
    }
    const Choice& choice = choices_[next_choice_++];
    LINEQ_ASSERT(choice.of == of);  // the same path, the same loads
    return choice.chosen;
  }
  bool next_path() {
    choices_.resize(next_choice_);
    while (!choices_.empty() && choices_.back().chosen + 1 == choices_.back().of) {
      choices_.pop_back();
    }
    if (choices_.empty()) {
      return false;
    }
    ++choices_.back().chosen;
    return true;
  }

  std::map<const void*, std::size_t> words_;  // -> histories_
  std::vector<std::vector<Message>> histories_;
  View writer_;
  View published_;  // by the last fence
  View reader_;
  View acquired_later_;  // by the next fence
  std::vector<Choice> choices_;
  std::size_t next_choice_ = 0;
  u32 pauses_ = 0;
  bool recording_ = false;
  bool exploring_ = false;
};

// The one that shm/words.h talks to; made anew by each test.
inline Explorer*& explorer_place() {
  static Explorer* place = nullptr;
  return place;
}
inline Explorer& explorer() {
  return *explorer_place();
}

}  // namespace lineq::model
