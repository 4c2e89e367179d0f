// The Debian package of this project: newer ones installed, the one of before kept, and a way back
// (docs/decisions/0021-updates.md).
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "box/roots.h"

namespace onebit::box {

inline constexpr char kPackageName[] = "1bit";

struct PackageFacts {
  std::string name, version, architecture;
};
/// Of a .deb. Errors: dpkg-deb cannot read it.
Result<PackageFacts> read_package(const std::string& file);

/// Empty where the package is not installed. Errors: there is no dpkg-query here.
Result<std::string> installed_version();

struct UpdateOptions {
  Roots roots;
  std::string file;               // a .deb; empty: the newest that apt's repositories have
  std::string previous;           // a .deb of the version that is installed, where none was kept; empty: apt is asked
  bool without_rollback = false;  // go on where the installed version's package cannot be had
  std::string url;                // of the server, whose health judges
  std::chrono::seconds health_time{120};
  std::function<void(const std::string& line)> say;
};

/// Installs a newer package, restarts the services that run, and waits until the server is healthy; where it does not
/// become so, the package of before is installed again. Errors: the message says what is installed at the end.
Status update(const UpdateOptions& options);

/// Back to the package of before (and, called again, forth). `file`, `previous` and `without_rollback` say nothing.
Status roll_back(const UpdateOptions& options);

}  // namespace onebit::box
