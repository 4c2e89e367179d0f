// Who may ask: API keys, compared in a time that does not depend on what was sent.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::server {

/// Any thread may call it.
class AccessKeys {
 public:
  /// `fixed` (from the environment or a flag), and one a line from the file at `path`, if any; lines that begin with #
  /// and empty ones are left out.
  static Result<AccessKeys> load(std::vector<std::string> fixed, std::string path);

  /// Reads the file again; where that fails, the keys stay as they are.
  Status reload();
  /// True where no keys are wanted, or `key` is one of them.
  bool allow(std::string_view key) const;
  bool required() const;
  /// Of a key that is allowed: its own number, the same whenever it is in the file; 0 where no keys are wanted.
  uint32_t number_of(std::string_view key) const;

 private:
  struct Key {
    std::string text;
    uint32_t number;
  };
  using Keys = std::vector<Key>;
  Result<std::vector<std::string>> read() const;
  std::shared_ptr<const Keys> keys() const;

  std::vector<std::string> fixed_;
  std::string path_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  std::shared_ptr<const Keys> keys_;
  std::map<std::string, uint32_t> numbers_;  // of all that ever were allowed
};

/// An address or name that only this machine has.
bool is_loopback(const std::string& host);

/// Whether a Host header's value (a port may follow) is an address, localhost, one of `names`, or absent. A page can
/// make a browser ask this machine by any other name (DNS rebinding).
bool names_this_machine(std::string_view host, const std::vector<std::string>& names);

/// The key of a request: "Bearer KEY" of Authorization, or x-api-key as it is.
std::string_view key_of(std::string_view authorization, std::string_view x_api_key);

}  // namespace onebit::server
