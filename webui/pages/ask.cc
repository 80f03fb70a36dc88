#include "webui/pages/ask.h"

#include <memory>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "shm/support/clock.h"

namespace lineq::pages {
namespace {

constexpr u64 kPatienceMs = 8000;  // longer than whoever asks lineqd waits for it

struct Pending {
  Answered make;
  std::optional<http::Reply> reply;
};

class Asked final : public http::Later {
 public:
  Asked(std::shared_ptr<Pending> pending, std::function<http::Reply()> hurried)
      : pending_(std::move(pending)), hurried_(std::move(hurried)), since_(monotonic_ms()) {}

  u64 patience_ms() const override { return kPatienceMs; }
  bool decide(bool last, http::Reply& out) override {
    if (pending_->reply) {
      out = std::move(*pending_->reply);
      return true;
    }
    if (!last) {
      return false;
    }
    const bool early = monotonic_ms() - since_ < kPatienceMs / 2;
    out = early && hurried_
              ? hurried_()
              : pending_->make(Error{ErrorCode::kBusy,
                                     "too many answers are waited for, whether lineqd did it is "
                                     "not known"});
    return true;
  }

 private:
  std::shared_ptr<Pending> pending_;
  std::function<http::Reply()> hurried_;
  u64 since_;
};

}  // namespace

http::Reply ask_lineqd(const Ask& ask, const control::Command& command, Answered make,
                       std::function<http::Reply()> hurried) {
  std::string line = control::command_json(command);
  if (line.size() > control::kLongestLine) {
    // It would cost the connection that all commands share.
    return make(
        Error{ErrorCode::kExhausted,
              fmt::format("the command would be longer than {} bytes", control::kLongestLine)});
  }
  auto pending = std::make_shared<Pending>();
  pending->make = std::move(make);
  // The page may be gone when the answer comes.
  ask(std::move(line), [pending](const Result<std::string>& answer) {
    pending->reply = pending->make(answer ? control::parse_answer(*answer)
                                          : Result<control::Answer>(answer.error()));
  });
  http::Reply reply;
  if (pending->reply) {
    reply = std::move(*pending->reply);
  } else {
    reply.later = std::make_unique<Asked>(std::move(pending), std::move(hurried));
  }
  return reply;
}

}  // namespace lineq::pages
