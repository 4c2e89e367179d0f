// What happens in a conversation by voice, as events of OpenAI's realtime protocol.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/realtime_api.h"
#include "voice/loop.h"

namespace onebit::server {

/// Keeps no sound, and of texts only those of the answer at hand and the last one.
class RealtimeTeller {
 public:
  using Events = std::vector<std::string>;  // each one JSON object

  RealtimeTeller(RealtimeForm form, std::string session_id, std::string model, std::string recognizer);

  /// session.created or session.updated.
  void session(const char* type, const RealtimeSettings& settings, Events& out);
  /// `event_id`: of the client's event that is at fault; empty: none.
  void error(const ApiError& error, const std::string& event_id, Events& out);
  void cleared(Events& out);
  /// Adds a message of text to what the client sees. Its id, where it has none, is chosen here.
  void item(const CreateItem& item, Events& out);
  void truncated(const TruncateItem& item, Events& out);

  /// What a loop tells. `answers`: turns are answered by themselves.
  void hear(const voice::Event& event, const RealtimeSettings& settings, bool answers, Events& out);
  /// The next kInterrupted comes of the client's response.cancel.
  void cancelling() { cancelling_ = true; }
  /// The loop is gone, and with it what was under way; another begins.
  void loop_ended(Events& out);

  /// A turn of sound, which is not understood yet.
  bool is_spoken(uint64_t turn) const { return turns_.contains(turn); }
  /// Somebody speaks, or an answer is being made.
  bool busy() const { return response_.has_value() || !turns_.empty(); }
  /// An answer is being made.
  bool answering() const { return response_.has_value(); }
  bool is_answering(uint64_t turn) const { return response_ && response_->turn == turn; }

 private:
  using Json = nlohmann::ordered_json;
  struct Turn {
    std::string item;
    std::string partial{};   // of the transcript, told so far
    uint64_t begin = 0;      // milliseconds of the sound that came
    bool committed = false;  // its item was told
  };
  struct Response {
    std::string id, item;
    uint64_t turn = 0;
    bool audio = true;
    std::string text{};    // so far
    uint64_t samples = 0;  // of its speech, told so far
    bool begun = false;    // its item was told
  };

  std::string new_id(const char* prefix);
  void add(Events& out, const char* type, Json fields);
  void add_item(Events& out, const Json& item, bool complete);
  Turn& turn_of(uint64_t turn);
  void commit(Turn& turn, Events& out);
  void partial(Turn& turn, const std::string& text, Events& out);
  void begin_response(uint64_t turn, const RealtimeSettings& settings, Events& out);
  void begin_item(Events& out);
  void end_response(const char* status, const Json& details, Events& out);
  Json part_json(const Response& response, const char* text_of) const;
  Json item_json(const Response& response, const char* status) const;
  Json response_json(const Response& response, const char* status, const Json& details) const;
  Json where(const Response& response) const;
  const char* name(const char* beta, const char* general) const;
  uint64_t milliseconds(uint64_t sample) const;
  void interrupted(const voice::Event& event, Events& out);
  void failed(const voice::Event& event, Events& out);

  const RealtimeForm form_;
  const std::string session_id_, model_, recognizer_;
  std::string salt_;
  uint64_t ids_ = 0;
  std::string last_item_;
  std::map<uint64_t, Turn> turns_;  // that are not over
  std::optional<Response> response_, last_;
  bool cancelling_ = false;
  uint64_t offset_ = 0, heard_ = 0;  // milliseconds: of loops that are gone; of this one
};

}  // namespace onebit::server
