// A conversation by voice over a WebSocket: OpenAI's realtime protocol.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/connection.h"
#include "server/metrics.h"
#include "server/realtime_teller.h"
#include "server/served_model.h"
#include "server/voice.h"

namespace onebit::server {

inline constexpr std::string_view kRealtimePath = "/v1/realtime";

/// The subprotocols that a client offers; browsers have no other place for a key.
struct RealtimeOffer {
  std::string_view chosen;  // that the server answers with; empty: none
  std::string_view key;     // of openai-insecure-api-key.KEY
  bool beta = false;        // openai-beta.realtime-v1
};
RealtimeOffer read_offer(std::string_view subprotocols);

/// Its state belongs to the network's thread; the loop's threads only put what they have to tell into heard_.
class RealtimeSession : public std::enable_shared_from_this<RealtimeSession> {
 public:
  struct Limits {
    uint64_t message_bytes = 8 << 20;
    std::chrono::seconds idle{75};   // without a sign of the client, pongs among them
    std::chrono::seconds write{30};  // for what it has to take at once
    std::chrono::seconds session{3600};
    std::chrono::seconds answer{600};
    uint32_t most_tokens = 0;  // of an answer; 0: what the context holds
  };
  RealtimeSession(Voice& voice, Metrics& metrics, std::shared_ptr<Service> service, uint32_t tenant, Limits limits,
                  RealtimeForm form);
  RealtimeSession(const RealtimeSession&) = delete;
  RealtimeSession& operator=(const RealtimeSession&) = delete;
  ~RealtimeSession();

  /// From the handshake to the end, whoever makes it. The connection's status says how it went: 101, or an error's.
  asio::awaitable<void> run(Connection& connection, std::string subprotocol);
  /// Ends it at once: the connection is closed.
  void cut();
  /// After the network's thread has ended: no thread of its own is left.
  void end_now();

 private:
  using Stream = beast::websocket::stream<beast::tcp_stream&>;
  using Clock = std::chrono::steady_clock;
  /// An event of a loop, with its sound.
  struct Heard {
    voice::Event event;
    std::vector<int16_t> audio;
    uint64_t loop;
  };

  // the client's events
  asio::awaitable<void> read();
  asio::awaitable<void> take(std::string_view text);
  std::optional<ApiError> wrong_with(const RealtimeSettings& settings) const;
  asio::awaitable<void> update(RealtimeSettings settings);
  asio::awaitable<void> append(std::vector<int16_t> samples, const std::string& id);
  void commit(const std::string& id);
  void add_item(const CreateItem& item);
  asio::awaitable<void> respond(const RealtimeSettings& settings, const std::string& id);
  void cancel(const std::string& id);

  // the loop
  asio::awaitable<std::optional<ApiError>> want_loop();
  asio::awaitable<void> drop_loop();
  void set_model(const RealtimeSettings& settings);
  bool answers_turns(const RealtimeSettings& s) const { return s.turn_detection && s.create_response; }
  void hear(const voice::Event& event, uint64_t loop);
  void hear_all();
  void hear_one(const voice::Event& event);
  void answer_question();
  void count(const voice::Event& event);

  // what is sent
  void refuse(const ApiError& error, const std::string& id);
  void flush();
  void close(beast::websocket::close_code code, const char* reason);
  asio::awaitable<void> write();
  asio::awaitable<void> watch();
  asio::awaitable<void> end_helpers();

  Voice& voice_;
  Metrics& metrics_;
  const std::shared_ptr<Service> service_;
  const Limits limits_;
  const std::shared_ptr<ServedModel> model_;
  RealtimeTeller teller_;
  RealtimeSettings settings_;
  std::optional<Stream> stream_;
  std::optional<asio::any_io_executor> executor_;

  std::shared_ptr<voice::Recognizer> recognizer_;
  std::unique_ptr<voice::Loop> loop_, old_loop_;  // the old one while it ends
  uint64_t loops_ = 0;                            // that there were
  std::string question_;                          // what was said or written, and not answered
  uint32_t awaited_ = 0;                          // turns whose transcript is to come
  bool respond_wanted_ = false;                   // once it has
  bool own_settings_ = false;                     // the model has those of one answer
  std::optional<Clock::time_point> speech_end_;

  std::mutex heard_mutex_;
  std::vector<Heard> heard_;
  bool hearing_ = false;

  RealtimeTeller::Events fresh_;    // to be sent
  std::deque<std::string> outbox_;  // is sent
  uint64_t outbox_bytes_ = 0;
  std::optional<asio::steady_timer> writer_timer_, watch_timer_, done_timer_;
  std::optional<beast::websocket::close_reason> closing_;
  std::optional<Clock::time_point> write_deadline_;
  uint32_t pings_ = 0;    // since the last look
  uint32_t helpers_ = 0;  // coroutines beside the one that reads
  bool over_ = false;
  int status_ = 101;
};

}  // namespace onebit::server
