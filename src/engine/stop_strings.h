// Ends an answer at a stop string, wherever tokens happen to cut it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onebit {

/// Text goes in piece by piece; out comes what can no longer be part of a stop string.
class StopStrings {
 public:
  /// Empty strings are ignored. From the text `last` on none of them ends anything; empty: there is no such text.
  explicit StopStrings(std::vector<std::string> stops, std::string last = {});

  /// Text that is certain after `piece`. Once a stop string is complete, matched() holds, the text
  /// before it has come out, and everything later is dropped.
  std::string push(std::string_view piece);
  /// What was held back, when the answer ends without a match.
  std::string finish();
  bool matched() const { return matched_; }
  /// The string that ended it; of several that begin at the same place the first that was given. Empty without a match.
  const std::string& match() const { return match_; }

 private:
  std::vector<std::string> stops_;
  std::string last_;
  std::string match_;
  std::string held_;  // a proper prefix of a stop string, plus the piece at hand
  bool matched_ = false;
};

}  // namespace onebit
