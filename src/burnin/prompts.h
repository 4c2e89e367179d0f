// What burn-in asks: requests of many kinds, each with as many variants as there are rounds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace onebit::burnin {

/// One line of a prompt file (docs/burnin.md): its request is a chat where it has "messages", else a completion.
struct Prompt {
  std::string id, kind;
  bool chat = false;
  std::string request;  // JSON, with {n}, {a}, {b} and {text} in its strings
  std::string text;     // what {text} stands for
};

/// The built-in ones.
std::vector<Prompt> builtin_prompts();

/// A file of JSON lines. Errors name the file, the line and what is wrong.
Result<std::vector<Prompt>> read_prompts(const std::string& path);
Result<std::vector<Prompt>> parse_prompts(std::string_view lines, const std::string& name);

struct RenderOptions {
  uint32_t max_tokens = 0;  // at most so many; 0: what the prompt says
  bool logprobs = false;
};

/// The request of the `variant`-th time: {n} is its number, {a} and {b} two numbers below 1000 that follow from it.
std::string render(const Prompt& prompt, uint64_t variant, const RenderOptions& options = {});

}  // namespace onebit::burnin
