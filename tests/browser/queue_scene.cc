// A waiting room for pages to be looked at, moved on by words on stdin, each answered by `ok`.
// Usage: queue_scene INSTANCE
//
//   open          a daemon, and room `shop` with both its places taken
//   queue N       N more visitors wait: v1, v2, ...
//   call V        visitor V may enter; HAProxys know
//   leave V       visitor V gives up
//   flow N        N visitors a minute are let in
//   still         nobody was let in for a while
//   method M      fifo, random or reject
//   pause on|off  paused; likewise `all on|off`: queue_all
//   message T     of the operator
//   template P    the room's own page
//   die           the daemon is gone, as after a kill
//   back          and there again
//   quit          and nothing is left behind
#include <charconv>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "tests/browser/play.h"
#include "tests/webui/crowd.h"

namespace lineq {
namespace {

class Scene {
 public:
  explicit Scene(std::string instance) : instance_(std::move(instance)) {}

  bool obey(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    u32 n = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), n);
    if (word == "open") {
      open();
      crowd_.emplace(*writer_, shm::Crowd::settings("shop"));
      crowd_->numbers([](shm::RoomNumbers& numbers) { numbers.active = 2; });
    } else if (word == "back") {
      open();
    } else if (word == "queue") {
      for (u32 i = 0; i < n; ++i) {
        crowd_->arrive(fmt::format("v{}", ++visitors_));
      }
    } else if (word == "call") {
      crowd_->become(rest, shm::VisitorState::kReady);
    } else if (word == "leave") {
      crowd_->become(rest, shm::VisitorState::kAbandoned);
    } else if (word == "flow") {
      flow_ = n;
    } else if (word == "still") {
      flow_ = 0;
      crowd_->flows(0);
    } else if (word == "method") {
      crowd_->rules([&](shm::RoomSettings& s) {
        s.method = rest == "random"   ? shm::QueueingMethod::kRandom
                   : rest == "reject" ? shm::QueueingMethod::kReject
                                      : shm::QueueingMethod::kFifo;
      });
    } else if (word == "pause") {
      crowd_->rules([&](shm::RoomSettings& s) { s.paused = rest == "on"; });
    } else if (word == "all") {
      crowd_->rules([&](shm::RoomSettings& s) { s.queue_all = rest == "on"; });
    } else if (word == "message") {
      crowd_->rules([&](shm::RoomSettings& s) { s.message = rest; });
    } else if (word == "template") {
      crowd_->rules([&](shm::RoomSettings& s) { s.template_path = rest; });
    } else if (word == "die") {
      writer_.reset();
    } else {
      return false;
    }
    tick();
    return true;
  }

  // Every 100 ms.
  void tick() {
    if (writer_ == nullptr) {
      return;
    }
    if (flow_ > 0 && crowd_) {
      crowd_->flows(flow_);
    }
    writer_->heartbeat(writer_->now());
  }

 private:
  void open() {
    shm::WriterOptions options;
    options.instance = instance_;
    options.feed_log2 = 16;
    auto writer = shm::Writer::attach(options);
    if (!writer) {
      fmt::print(stderr, "queue_scene: {}\n", writer.error().what);
      std::exit(1);
    }
    writer_ = writer.take();
  }

  std::string instance_;
  std::unique_ptr<shm::Writer> writer_;
  std::optional<shm::Crowd> crowd_;
  u32 visitors_ = 0;
  u32 flow_ = 0;
};

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  return lineq::test::play<lineq::Scene>(argc, argv);
}
