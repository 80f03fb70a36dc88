#include "webui/net/control_client.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "shm/support/assert.h"

namespace lineq::webnet {
namespace {

constexpr std::size_t kReadBytes = 65536;

}  // namespace

struct ControlClient::Write {
  uv_write_t request{};
  std::string bytes;
};

ControlClient::ControlClient(uv_loop_t& loop, ControlOptions options)
    : loop_(loop), options_(std::move(options)), retry_ms_(options_.retry_ms) {
  uv_timer_init(&loop_, &timer_);
  timer_.data = this;
}

ControlClient::~ControlClient() {
  LINEQ_ASSERT(closed_);
}

void ControlClient::arm(u64 ms) {
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<ControlClient*>(timer->data)->tick(); }, ms, 0);
}

void ControlClient::send(std::string line, Callback callback) {
  LINEQ_ASSERT(!closed_);
  uv_update_time(&loop_);
  Pending job{std::move(line), std::move(callback), uv_now(&loop_) + options_.answer_ms};
  job.line += '\n';
  job.refused =
      pending_.size() >= options_.max_pending || bytes_ + job.line.size() > options_.max_bytes;
  if (job.refused) {
    job.line.clear();
  }
  bytes_ += job.line.size();
  pending_.push_back(std::move(job));
  arm(0);
}

// Everything that waits for time: refusals to tell, connections to make, answers that are late.
void ControlClient::tick() {
  const u64 now = uv_now(&loop_);
  // Refused ones may stand anywhere; the sent ones keep their order.
  for (std::size_t i = 0; i < pending_.size();) {
    if (!pending_[i].refused) {
      ++i;
      continue;
    }
    const Callback callback = std::move(pending_[i].callback);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
    callback(Error{ErrorCode::kBusy, "too many commands to lineqd are waiting for an answer"});
    if (closed_) {
      return;
    }
  }
  while (!pending_.empty() && pending_.front().deadline <= now) {
    if (pending_.front().sent) {
      lose("lineqd took too long to answer; whether it has done it is not known");
    } else {
      answer_first(Error{
          ErrorCode::kNotFound,
          trouble_.empty() ? fmt::format("lineqd did not answer at {}", options_.path) : trouble_});
    }
    if (closed_) {
      return;
    }
  }
  if (pending_.empty()) {
    return;
  }
  if (link_ == nullptr && now >= next_attempt_) {
    connect();
  } else if (link_ != nullptr && link_->up) {
    write_pending();
  }
  if (closed_ || pending_.empty()) {
    return;
  }
  u64 next = pending_.front().deadline;
  if (link_ == nullptr) {
    next = std::min(next, next_attempt_);
  }
  arm(next > now ? next - now : 1);
}

void ControlClient::connect() {
  link_ = new Link;
  link_->client = this;
  uv_pipe_init(&loop_, &link_->pipe, 0);
  link_->pipe.data = link_;
  link_->request.data = link_;
  uv_pipe_connect(&link_->request, &link_->pipe, options_.path.c_str(),
                  [](uv_connect_t* request, int status) {
                    auto* link = static_cast<Link*>(request->data);
                    if (link->client != nullptr) {
                      link->client->on_connected(status);
                    }
                  });
}

void ControlClient::on_connected(int status) {
  if (status != 0) {
    trouble_ = fmt::format("cannot reach lineqd at {}: {}", options_.path, uv_strerror(status));
    drop_link();
    next_attempt_ = uv_now(&loop_) + retry_ms_;
    retry_ms_ = std::min(retry_ms_ * 2, options_.max_retry_ms);
    return arm(0);
  }
  link_->up = true;
  retry_ms_ = options_.retry_ms;
  trouble_.clear();
  in_.clear();
  read_buffer_.resize(kReadBytes);
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&link_->pipe),
      [](uv_handle_t* handle, std::size_t /*suggested*/, uv_buf_t* buffer) {
        const auto* link = static_cast<Link*>(handle->data);
        *buffer = link->client == nullptr
                      ? uv_buf_init(nullptr, 0)
                      : uv_buf_init(link->client->read_buffer_.data(), kReadBytes);
      },
      [](uv_stream_t* stream, ssize_t n, const uv_buf_t* buffer) {
        if (auto* link = static_cast<Link*>(stream->data); link->client != nullptr) {
          link->client->on_read(n, buffer->base);
        }
      });
  write_pending();
}

void ControlClient::write_pending() {
  auto job = std::make_unique<Write>();
  for (Pending& p : pending_) {
    if (!p.sent && !p.refused) {
      p.sent = true;
      bytes_ -= p.line.size();
      job->bytes += p.line;
      p.line = {};
    }
  }
  if (job->bytes.empty()) {
    return;
  }
  job->request.data = job.get();
  const uv_buf_t buffer = uv_buf_init(job->bytes.data(), static_cast<unsigned>(job->bytes.size()));
  const int status = uv_write(&job->request, reinterpret_cast<uv_stream_t*>(&link_->pipe), &buffer,
                              1, [](uv_write_t* request, int /*status*/) {
                                // A failed write shows as an end of the stream.
                                delete static_cast<Write*>(request->data);
                              });
  if (status != 0) {
    return lose(fmt::format("lineqd went away: {}", uv_strerror(status)));
  }
  job.release();  // NOLINT(bugprone-unused-return-value): the callback's now
}

void ControlClient::on_read(ssize_t n, const char* bytes) {
  if (n < 0) {
    return lose("lineqd went away before it answered; whether it has done it is not known");
  }
  in_.append(bytes, static_cast<std::size_t>(n));
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = in_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    if (pending_.empty() || !pending_.front().sent) {
      return lose("lineqd said something that nobody asked for");
    }
    std::string line = in_.substr(begin, end - begin);
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    answer_first(line);
    if (closed_ || link_ == nullptr) {
      return;
    }
  }
  in_.erase(0, begin);
  if (in_.size() > options_.max_answer_bytes) {
    lose(fmt::format("an answer of lineqd is longer than {} bytes", options_.max_answer_bytes));
  }
}

void ControlClient::drop_link() {
  Link* link = std::exchange(link_, nullptr);
  link->client = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&link->pipe),
           [](uv_handle_t* handle) { delete static_cast<Link*>(handle->data); });
  in_.clear();
}

// The connection and what was sent on it are gone; what was not sent goes out on the next one.
void ControlClient::lose(const std::string& why) {
  drop_link();
  next_attempt_ = uv_now(&loop_) + options_.retry_ms;
  std::vector<Callback> lost;
  while (!pending_.empty() && pending_.front().sent) {
    lost.push_back(std::move(pending_.front().callback));
    pending_.pop_front();
  }
  for (const Callback& callback : lost) {
    callback(Error{ErrorCode::kSystem, why});
  }
  if (!closed_) {
    arm(0);
  }
}

void ControlClient::answer_first(const Result<std::string>& answer) {
  const Callback callback = std::move(pending_.front().callback);
  bytes_ -= pending_.front().line.size();
  pending_.pop_front();
  callback(answer);
}

void ControlClient::close() {
  if (closed_) {
    return;
  }
  closed_ = true;
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  if (link_ != nullptr) {
    drop_link();
  }
  for (const Pending& p : std::exchange(pending_, {})) {
    p.callback(Error{ErrorCode::kSystem, "this process ends"});
  }
}

}  // namespace lineq::webnet
