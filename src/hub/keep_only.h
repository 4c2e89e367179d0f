// A download folder that holds what is chosen and nothing else.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "hub/repo.h"

namespace onebit::hub {

/// Removes from `folder` all that is neither one of `files` nor its unfinished part: what an earlier commit, or another
/// choice, has left there would else be converted under the present one's name. Links go, never what they lead to.
/// Errors: something cannot be removed.
Status keep_only(const std::string& folder, std::span<const RepoFile> files);

/// Removes `folder` where it holds no file, only folders at most.
void remove_if_empty(const std::string& folder);

}  // namespace onebit::hub
