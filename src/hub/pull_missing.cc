// In the place of pull.cc in a program without libcurl and OpenSSL.
#include "hub/pull.h"

namespace onebit::hub {

bool can_pull() {
  return false;
}

Result<Pulled> pull(const PullOptions&, const PullProgress&) {
  return fail(
      "this program was built without libcurl and OpenSSL: install Debian's libcurl4-openssl-dev and libssl-dev and "
      "build "
      "it again, or download the repository's files into a folder and use 'halo convert'");
}

}  // namespace onebit::hub
