// From the engine's answers to the JSON of OpenAI's API.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/request.h"
#include "server/api_request.h"
#include "server/tools.h"

namespace onebit::server {

/// What all objects of one answer carry.
struct ApiHead {
  std::string id;  // "chatcmpl-…" or "cmpl-…"
  int64_t created = 0;
  std::string model;
  std::string fingerprint;
};

/// What came of one choice, so far or in a piece.
struct ChoiceText {
  std::string text;
  std::vector<GeneratedToken> tokens;  // with logprobs where asked for
  size_t echoed = 0;                   // so many of them are the prompt's
  std::vector<float> embedding{};      // in place of all that
};

/// Sums over an answer's choices.
struct ApiUsage {
  uint64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  double prompt_ms = 0, first_token_ms = 0, answer_ms = 0;

  void add(const Outcome& outcome, bool with_prompt);
  /// Of another part of the same answer, after this one.
  void add(const ApiUsage& other);
};

/// Log-probabilities of tokens as chats tell them: an array of {"token", "logprob", "bytes", "top_logprobs"}.
nlohmann::ordered_json logprobs_json(const Tokenizer& tokenizer, const std::vector<GeneratedToken>& tokens);

/// Writes the answers to one call: here as OpenAI's completions; other protocols are classes of their own.
class ApiFormat {
 public:
  ApiFormat(const ApiCall& call, const Tokenizer& tokenizer, ApiHead head)
      : call_(call), tokenizer_(tokenizer), head_(std::move(head)), offsets_(call.requests.size()) {}
  ApiFormat(const ApiFormat&) = delete;
  ApiFormat& operator=(const ApiFormat&) = delete;
  virtual ~ApiFormat() = default;

  /// Where echo is on: what stands before the answer.
  ChoiceText echo(uint32_t choice, std::vector<GeneratedToken> prompt_logprobs) const;

  /// The whole answer.
  virtual std::string whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                            const ApiUsage& usage) const;

  /// Events of a stream, as they are sent ("data: …\n\n").
  virtual std::string begin(uint32_t choice);  // before all else of a choice
  virtual std::string piece(uint32_t choice, const ChoiceText& piece);
  virtual std::string calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                            const std::vector<GeneratedToken>& tokens);
  virtual std::string end(uint32_t choice, const Outcome& outcome, bool called_tools,
                          const ApiUsage* timings);        // with the last: timings
  virtual std::string finish(const ApiUsage& usage);       // after all choices
  virtual std::string error(const ApiError& error) const;  // in place of the rest
  /// As OpenAI calls it; an answer that only is the call that was asked for by name has just stopped.
  std::string_view finish_reason(const Outcome& outcome, bool called_tools) const;

 protected:
  const ApiCall& call_;
  const Tokenizer& tokenizer_;
  ApiHead head_;
  std::vector<size_t> offsets_;  // of each choice: characters of text so far (legacy text_offset)
};

}  // namespace onebit::server
