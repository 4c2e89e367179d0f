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

}  // namespace onebit
