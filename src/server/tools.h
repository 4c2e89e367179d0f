// Tools of a chat: what a request offers, how the prompt tells of them, and calls in an answer's text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/json_value.h"
#include "server/fields.h"
#include "server/structure.h"
#include "tokenizer/chat_layout.h"

namespace onebit::server {

/// Where an answer may have calls of tools.
enum class CallsIn {
  kNothing,
  kWords,  // after words, or without
  kJson,   // in place of a schema's JSON: a text that does not begin with a call has none
  kCalls   // there is nothing else
};

/// What a request says of tools.
struct Tools {
  enum class Choice { kNone, kAuto, kRequired, kNamed };
  Choice choice = Choice::kNone;
  bool parallel = true;
  std::string named;                          // of kNamed
  std::vector<grammar::JsonValue> described;  // as they were sent, for the prompt

  bool offered() const { return choice != Choice::kNone; }
  /// The grammar of an answer that may or must call them; `text`: a schema for what is said instead of calls.
  Structure structure(const std::optional<Structure>& text) const;
};

/// tools, tool_choice and parallel_tool_calls; with faults where they cannot be.
Tools read_tools(Fields& fields, std::string_view body);

/// Tells of the tools in the system message, or where the layout has none in the first user's.
void describe_tools(const Tools& tools, bool has_system, std::vector<ChatMessage>& messages);

/// An assistant's message as it was said: its words and its calls.
std::string with_tool_calls(Fields& fields, const nlohmann::json& message, const std::string& name,
                            std::string content);
/// A tool's answer, as a user's message has it.
std::string tool_response(const std::string& content);

/// A call in an answer.
struct ToolCall {
  std::string id, name, arguments;
};

/// Takes an answer's text apart as it comes.
class ToolCallSplitter {
 public:
  explicit ToolCallSplitter(CallsIn in) : in_(in) {}

  struct Piece {
    std::string content;  // words for the user
    struct Call {
      size_t index;
      bool begins;  // with its id and name; else more of its arguments
      ToolCall part;
    };
    std::vector<Call> calls;
    bool empty() const { return content.empty() && calls.empty(); }
  };

  /// What is certain with this text.
  Piece push(std::string_view text);
  /// What was held back, where the answer has ended.
  Piece finish();
  size_t calls() const { return calls_; }

 private:
  enum class State { kText, kHead, kArguments, kBetween, kWordsOnly };
  bool advance(Piece& piece);
  bool take_text(Piece& piece);

  const CallsIn in_;
  State state_ = State::kText;
  std::string held_;
  size_t calls_ = 0;  // that have begun
};

/// An answer's words and calls, put together again.
struct SaidAndCalled {
  std::string content;
  std::vector<ToolCall> calls;
  void add(const ToolCallSplitter::Piece& piece);
};
SaidAndCalled split_calls(std::string_view text, CallsIn in);

}  // namespace onebit::server
