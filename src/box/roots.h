// Where a box is looked at: its files under a folder that stands for /, its programs on $PATH. Tests have others.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::box {

/// `folder` stands for / wherever a command of a box reads or keeps files: /sys, /proc, /dev, /etc, /run, /var. Empty:
/// this machine's own.
struct Roots {
  std::string folder;

  /// $HALO_ROOT.
  static Roots of_environment();
  /// `absolute` begins with a slash.
  std::string path(std::string_view absolute) const { return folder + std::string(absolute); }
};

/// Where $PATH finds `program`; nothing where it does not.
std::optional<std::string> find_program(std::string_view program);

/// What `command` prints, at most 4 MiB of it. Errors: it is not on $PATH, fails, or takes longer.
Result<std::string> output_of(const std::vector<std::string>& command, std::chrono::milliseconds timeout);

/// As a shell would have it typed.
std::string command_line(const std::vector<std::string>& command);

/// " (it needs root: …)" for the end of a message where this process is not root's and / is this machine's own;
/// else nothing.
std::string needs_root(std::string_view what_to_run);

}  // namespace onebit::box
