#include "format/import/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/utf8.h"

namespace onebit {
namespace {

constexpr int kMaxDepth = 64;

/// Why the parser's callback gave up; the parser itself cannot say it.
struct Refusal {
  bool too_deep = false;
  std::string duplicate;
};

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text, std::string_view what) {
  using nlohmann::json;
  Refusal refusal;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  // Depth is checked before the parser can build, and so later destroy, a deep tree.
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) throw std::length_error("depth");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        refusal.duplicate = key;
        throw std::invalid_argument("duplicate");
      }
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check, true, false);
  } catch (const std::length_error&) {
    return fail("{}: nested deeper than {} levels", what, kMaxDepth);
  } catch (const std::invalid_argument&) {
    return fail("{}: key '{}' stands twice in one object", what, printable(refusal.duplicate));
  } catch (const json::exception& e) {
    return fail("{}: not valid JSON: {}", what, printable(e.what(), 200));
  } catch (const std::bad_alloc&) {
    return fail("{}: too large for the memory at hand", what);
  }
}

Result<nlohmann::json> parse_json_object(std::string_view text, std::string_view what) {
  ASSIGN_OR_RETURN(auto root, parse_json(text, what));
  if (!root.is_object()) return fail("{}: expected a JSON object at the top", what);
  return root;
}

}  // namespace onebit
