// One answer's way through a grammar.
#pragma once

#include <memory>
#include <optional>

#include "grammar/grammar.h"
#include "grammar/stacks.h"

namespace onebit::grammar {

class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar);

  /// A bit for each token of the vocabulary that may come next: those after which the text can still be completed, and
  /// the end tokens where it may end. Errors: a text that the grammar parses in too many ways.
  Status next(TokenMask& mask);
  /// Takes the token that came; of an end token nothing changes. False where the grammar does not allow it.
  bool accept(TokenId token);
  /// The same for bytes.
  bool accept(std::string_view bytes);

  /// The text so far is complete.
  bool may_end() const { return stacks_.has(set_, Stacks::kEndState); }
  /// It is, and nothing can follow.
  bool must_end() const { return may_end() && stacks_.frames(set_).size() == 1; }
  /// Memory of the stacks.
  uint64_t bytes() const { return stacks_.bytes(); }

 private:
  void compact();

  std::shared_ptr<const Grammar> grammar_;
  Stacks stacks_;
  SetId set_;
  SetId compact_at_ = 4096;
};

}  // namespace onebit::grammar
