#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace onebit::server {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = std::map<std::string, std::string>;

int64_t second_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Metrics::Registry {
  prometheus::Registry all;

  Gauge& gauge(const char* name, const char* help, const Labels& labels = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(all).Add(labels);
  }
  Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(all).Add({});
  }
  Histogram& histogram(const char* name, const char* help, const Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(all).Add({}, buckets);
  }

  Gauge& recent = gauge("tokps_recent", "Tokens generated in the last 10 s, divided by 10, over all requests");
  Gauge& queued = gauge("onebit_queue_length", "Requests that wait for their first step");
  Gauge& running = gauge("onebit_running_requests", "Requests that share steps");
  Gauge& connections = gauge("onebit_connections", "Open connections");
  Gauge& conversations = gauge("onebit_voice_sessions", "Conversations by voice that are open");
  Gauge& devices = gauge("onebit_devices", "Devices that compute, the CPU among them where it does");
  Gauge& batch = gauge("onebit_batch_rows", "Tokens computed by the last step, of each device together");
  Gauge& pages = gauge("onebit_kv_pages", "KV pages in use, prefixes that are kept among them");
  Gauge& most_pages = gauge("onebit_kv_pages_limit", "KV pages there may be");
  Gauge& prefix_pages = gauge("onebit_prefix_cache_pages", "KV pages of prefixes that are kept");
  Counter& steps = counter("onebit_steps_total", "Forward passes");
  Counter& rows = counter("onebit_batch_rows_total", "Tokens computed, by all steps");
  Counter& prompt_tokens = counter("onebit_prompt_tokens_total", "Prompt tokens computed");
  Counter& cached_tokens = counter("onebit_prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache");
  Counter& answer_tokens = counter("onebit_generated_tokens_total", "Tokens generated");
  Counter& devices_lost = counter("onebit_devices_lost_total", "Devices that failed for good");
  Counter& preemptions = counter("onebit_preemptions_total", "Requests that lost their KV pages and were queued again");
  Histogram& first_token = histogram("onebit_time_to_first_token_seconds", "From arrival to the first token",
                                     {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60});
  Histogram& between = histogram("onebit_inter_token_seconds", "Between two tokens of an answer",
                                 {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 5});
  Histogram& total = histogram("onebit_request_seconds", "From arrival to the end of the answer",
                               {0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600});
  prometheus::Family<Counter>& requests =
      prometheus::BuildCounter().Name("onebit_requests_total").Help("Answers, by how they ended").Register(all);
  Histogram& first_audio =
      histogram("onebit_voice_first_audio_seconds", "From the known end of speech to the answer's first sound",
                {0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5, 10});
  prometheus::Family<Counter>& voice_answers = prometheus::BuildCounter()
                                                   .Name("onebit_voice_answers_total")
                                                   .Help("Answers by voice, by how they ended")
                                                   .Register(all);
  prometheus::Family<Counter>& tokens = prometheus::BuildCounter()
                                            .Name("onebit_request_tokens_total")
                                            .Help("Tokens generated, by how their answer ended")
                                            .Register(all);
  prometheus::Family<Counter>& refusals = prometheus::BuildCounter()
                                              .Name("onebit_refusals_total")
                                              .Help("HTTP answers from 400 on, by status")
                                              .Register(all);
  std::mutex text_mutex;  // of what follows the scheduler's own counts
};

// Each outcome from 0 on: what is counted from its first time on has no rate then.
Metrics::Metrics() : registry_(std::make_unique<Registry>()) {
  for (const char* outcome : {"stop", "length", "cancelled", "error"}) {
    registry_->requests.Add({{"outcome", outcome}});
    registry_->tokens.Add({{"outcome", outcome}});
  }
  for (const char* outcome : {"completed", "cancelled", "failed"}) registry_->voice_answers.Add({{"outcome", outcome}});
}

void Metrics::loaded(const Build& build) {
  registry_
      ->gauge("onebit_build_info", "1; what runs here",
              {{"version", build.version}, {"model", build.model}, {"isa", build.isa}})
      .Set(1);
}

Metrics::~Metrics() = default;

void Metrics::token() {
  const int64_t now = second_now();
  const std::lock_guard lock(recent_mutex_);
  auto& [second, tokens] = recent_[static_cast<size_t>(now) % recent_.size()];
  if (second != now) tokens = 0;
  second = now;
  ++tokens;
}

double Metrics::tokens_a_second() const {
  const int64_t now = second_now();
  uint64_t sum = 0;
  const std::lock_guard lock(recent_mutex_);
  for (const auto& [second, tokens] : recent_)
    if (second < now && second >= now - static_cast<int64_t>(kSeconds)) sum += tokens;
  return static_cast<double>(sum) / kSeconds;
}

void Metrics::inter_token(double seconds) {
  registry_->between.Observe(seconds);
}

void Metrics::ended(const Outcome& outcome) {
  const Labels labels{{"outcome", outcome.error ? "error" : std::string(name_of(outcome.reason))}};
  registry_->requests.Add(labels).Increment();
  registry_->tokens.Add(labels).Increment(outcome.answer_tokens);
  if (outcome.answer_tokens > 0) registry_->first_token.Observe(outcome.queued_seconds + outcome.prompt_seconds);
  registry_->total.Observe(outcome.queued_seconds + outcome.prompt_seconds + outcome.answer_seconds);
}

void Metrics::voice_answer(const char* outcome) {
  registry_->voice_answers.Add({{"outcome", outcome}}).Increment();
}

void Metrics::voice_first_audio(double seconds) {
  registry_->first_audio.Observe(seconds);
}

void Metrics::refused(int status) {
  registry_->refusals.Add({{"status", std::to_string(status)}}).Increment();
}

std::string Metrics::text(const EngineStats& stats, size_t connections, size_t conversations) {
  auto& r = *registry_;
  const auto follow = [](Counter& counter, uint64_t value) {
    counter.Increment(static_cast<double>(value) - counter.Value());
  };
  const std::lock_guard lock(r.text_mutex);
  r.recent.Set(tokens_a_second());
  r.connections.Set(static_cast<double>(connections));
  r.conversations.Set(static_cast<double>(conversations));
  for (const auto& [gauge, value] : {std::pair<Gauge*, uint64_t>{&r.queued, stats.queued},
                                     {&r.running, stats.running},
                                     {&r.batch, stats.batch_rows},
                                     {&r.pages, stats.kv_pages},
                                     {&r.most_pages, stats.most_kv_pages},
                                     {&r.prefix_pages, stats.cached_pages},
                                     {&r.devices, stats.devices}})
    gauge->Set(static_cast<double>(value));
  follow(r.steps, stats.steps);
  follow(r.rows, stats.all_rows);
  follow(r.prompt_tokens, stats.prompt_tokens);
  follow(r.cached_tokens, stats.cached_tokens);
  follow(r.answer_tokens, stats.answer_tokens);
  follow(r.preemptions, stats.preemptions);
  follow(r.devices_lost, stats.lost);
  return prometheus::TextSerializer().Serialize(r.all.Collect());
}

}  // namespace onebit::server
