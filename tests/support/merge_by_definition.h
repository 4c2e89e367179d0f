// Byte-pair merging as it is defined, as slow as it is plain: what the encoder is compared with.
#pragma once

#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "format/tokenizer_data.h"

namespace onebit::test {

/// While some neighbours merge: merge the leftmost pair of the lowest rank.
class MergeByDefinition {
 public:
  explicit MergeByDefinition(const TokenizerData& data) : merges_(data.merges) {
    for (size_t rank = 0; rank < merges_.size(); ++rank) rank_of_[{merges_[rank].left, merges_[rank].right}] = rank;
    for (size_t id = data.tokens.size(); id-- > 0;)
      if (data.tokens[id].size() == 1 && !data.special[id])
        byte_ids_[static_cast<unsigned char>(data.tokens[id][0])] = static_cast<TokenId>(id);
  }

  std::vector<TokenId> operator()(std::string_view piece) const {
    std::vector<TokenId> ids;
    for (const char byte : piece) ids.push_back(byte_ids_.at(static_cast<unsigned char>(byte)));
    return merge(std::move(ids));
  }

  std::vector<TokenId> merge(std::vector<TokenId> ids) const {
    while (true) {
      size_t best = merges_.size(), place = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = rank_of_.find({ids[i], ids[i + 1]});
        if (found == rank_of_.end() || found->second >= best) continue;
        best = found->second;
        place = i;
      }
      if (best == merges_.size()) return ids;
      ids[place] = merges_[best].result;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
  }

 private:
  decltype(TokenizerData::merges) merges_;
  std::map<std::pair<TokenId, TokenId>, size_t> rank_of_;
  std::map<unsigned char, TokenId> byte_ids_;
};

}  // namespace onebit::test
