#include "server/served_model.h"

#include <condition_variable>
#include <random>

#include "server/metered_listener.h"

namespace onebit::server {
namespace {

/// What the engine's thread has told and the loop's has not taken yet.
class AnswerInbox final : public RequestListener {
 public:
  void on_token(Answer::Piece piece) override {
    const std::lock_guard lock(mutex_);
    text_ += piece.text;
    changed_.notify_all();
  }
  void on_end(const Outcome& outcome, std::string rest) override {
    const std::lock_guard lock(mutex_);
    text_ += rest;
    outcome_ = outcome;
    changed_.notify_all();
  }
  void wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }
  /// Waits for text, the end, wake() or `until`. The outcome comes with the last text.
  std::optional<Outcome> take(std::string& text, std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, until, [&] { return woken_ || outcome_ || !text_.empty(); });
    text = std::exchange(text_, {});
    return outcome_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  std::optional<Outcome> outcome_;
  bool woken_ = false;
};

}  // namespace

ServedModel::ServedModel(std::shared_ptr<Service> service, Metrics& metrics, uint32_t tenant, std::chrono::seconds time)
    : service_(std::move(service)), metrics_(metrics), tenant_(tenant), time_(time) {}

void ServedModel::set(Settings settings) {
  const std::lock_guard lock(mutex_);
  settings_ = std::move(settings);
}

void ServedModel::add(std::string role, std::string text) {
  const std::lock_guard lock(mutex_);
  add_locked(std::move(role), std::move(text));
}

void ServedModel::add_locked(std::string role, std::string text) {
  bytes_ += text.size();
  messages_.push_back({std::move(role), std::move(text)});
  while (bytes_ > kMostBytes && !messages_.empty()) {
    bytes_ -= messages_.front().content.size();
    messages_.erase(messages_.begin());
  }
}

void ServedModel::remember(const std::string& question, const std::string& heard) {
  const std::lock_guard lock(mutex_);
  add_locked("user", question);
  if (!heard.empty()) add_locked("assistant", heard);
}

/// The conversation and the question; the oldest messages go until a quarter of the context is left for the answer.
Result<Request> ServedModel::request_for(const std::string& question) {
  const std::lock_guard lock(mutex_);
  const auto& config = service_->model.file().config();
  Request request;
  while (true) {
    std::vector<ChatMessage> all;
    if (!settings_.instructions.empty()) all.push_back({"system", settings_.instructions});
    all.insert(all.end(), messages_.begin(), messages_.end());
    all.push_back({"user", question});
    ASSIGN_OR_RETURN(request.prompt, encode_chat(service_->model.tokenizer(), all, true));
    if (request.prompt.size() <= config.context - config.context / 4 || messages_.empty()) break;
    // A quarter of them at once: a long text is not encoded for each message anew.
    const auto gone = static_cast<std::ptrdiff_t>((messages_.size() + 3) / 4);
    for (auto it = messages_.begin(); it != messages_.begin() + gone; ++it) bytes_ -= it->content.size();
    messages_.erase(messages_.begin(), messages_.begin() + gone);
  }
  std::random_device device;
  request.params.sampling.temperature = settings_.temperature;
  request.params.sampling.seed = (uint64_t{device()} << 32) | device();
  request.params.max_tokens = settings_.most_tokens;
  request.tenant = tenant_;
  return request;
}

Status ServedModel::answer(const std::string& question, const Sink& sink, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(auto request, request_for(question));
  const auto until = std::chrono::steady_clock::now() + time_;
  const auto inbox = std::make_shared<AnswerInbox>();
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  const auto ticket =
      service_->engine.submit(std::move(requests), {std::make_shared<MeteredListener>(inbox, metrics_)});
  if (ticket.refusal != EngineLoop::Refusal::kNone) return fail("{}", ticket.reason);
  const std::stop_callback on_stop(stop, [&] {
    ticket.cancel();
    inbox->wake();
  });
  std::string text;
  while (true) {
    const auto outcome = inbox->take(text, until);
    if (stop.stop_requested()) return {};
    if (!text.empty() && !sink(text)) {
      ticket.cancel();
      return {};
    }
    if (outcome && outcome->error) return tl::unexpected(*outcome->error);
    if (outcome && outcome->reason == FinishReason::kCancelled) return fail("the server is shutting down");
    if (outcome) return {};
    if (std::chrono::steady_clock::now() >= until) {
      ticket.cancel();
      return fail("the answer took more than {} s", time_.count());
    }
  }
}

}  // namespace onebit::server
