// Drafts for speculation from the text itself (prompt lookup decoding, Saxena 2023): what followed the same few
// tokens the last time will perhaps follow them again.
#pragma once

#include <span>
#include <vector>

#include "format/model_config.h"

namespace onebit {

/// At most `most` tokens that may follow `tokens`: those after the latest earlier place that ends with the same 4, or
/// else 3 or 2 tokens. Empty where there is none.
std::vector<TokenId> draft_by_lookup(std::span<const TokenId> tokens, uint32_t most);

/// How many tokens to draft, by how the last drafts went: checking a token that is refused costs as much as one that is
/// accepted.
class DraftLength {
 public:
  /// For the next step: at most `most`; 0 while drafts rest.
  uint32_t next(uint32_t most);
  /// The outcome of a draft.
  void met(uint32_t drafted, uint32_t accepted);

 private:
  uint32_t length_ = 4;
  uint32_t rest_ = 0;   // steps without a draft that are left
  uint32_t rests_ = 0;  // steps that the last rest had
};

}  // namespace onebit
