// The language model of a conversation by voice on the server: requests to the engine that all share.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/metrics.h"
#include "server/service.h"
#include "tokenizer/chat_layout.h"
#include "voice/loop.h"

namespace onebit::server {

/// Any thread may set() and add().
class ServedModel : public voice::LanguageModel {
 public:
  struct Settings {
    std::string instructions;
    float temperature = 0;
    uint32_t most_tokens = 0;
  };
  /// `metrics` must outlive the engine's requests. `tenant`: whose prefixes. `time`: for an answer.
  ServedModel(std::shared_ptr<Service> service, Metrics& metrics, uint32_t tenant, std::chrono::seconds time);

  void set(Settings settings);
  /// A message behind those that there are. Of more than kMostBytes of them the oldest go.
  void add(std::string role, std::string text);

  Status answer(const std::string& question, const Sink& sink, const std::stop_token& stop) override;
  void remember(const std::string& question, const std::string& heard) override;

  static constexpr size_t kMostBytes = 1 << 20;

 private:
  Result<Request> request_for(const std::string& question);
  void add_locked(std::string role, std::string text);

  const std::shared_ptr<Service> service_;
  Metrics& metrics_;
  const uint32_t tenant_;
  const std::chrono::seconds time_;
  std::mutex mutex_;
  Settings settings_;
  std::vector<ChatMessage> messages_;
  size_t bytes_ = 0;
};

}  // namespace onebit::server
