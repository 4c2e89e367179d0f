// Structured output: a grammar compiled once, and for each answer a matcher that says which tokens may come next.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/program.h"
#include "grammar/token_masks.h"

namespace onebit::grammar {

/// What a source is written in.
enum class Language {
  kGbnf,        // llama.cpp's notation; its rule `root` is the whole
  kRegex,       // ECMA-262; the whole text matches
  kJsonSchema,  // draft 2020-12 as docs/server.md tells, also the older `definitions` and arrays of `items`
  kChoice,      // a JSON array of strings: one of them
  kTools        // what tools.h describes
};

/// Immutable; any number of answers in any threads share it.
class Grammar {
 public:
  /// `masks` must outlive it.
  Grammar(Program program, TokenMasks& masks);

  const Program& program() const { return program_; }
  TokenMasks& masks() const { return masks_; }
  uint64_t number_of(RuleId rule) const { return numbers_[rule]; }
  /// Computes the masks that take long, of states that allow many bytes, for so long at most: steps then find them.
  /// Before others have it.
  void prepare_masks(std::chrono::milliseconds most);
  /// Of a state, for the masks.
  uint32_t kind_of(StateId state) const { return kinds_[state]; }
  uint64_t bytes() const { return program_.bytes() + numbers_.size() * sizeof(uint64_t) + kinds_.size() * 4; }

 private:
  void prepare_shapes(const std::vector<StateId>& slow, std::chrono::steady_clock::time_point end);

  Program program_;
  TokenMasks& masks_;
  std::vector<uint64_t> numbers_;  // of each rule, for the masks
  std::vector<uint32_t> kinds_;    // of each state, for the masks; Kinds::kNone where they are quick or few
};

/// The tables of a source. Errors name what is not supported or wrong, or say that it is too large.
Result<Program> compile(Language language, std::string_view source);

}  // namespace onebit::grammar
