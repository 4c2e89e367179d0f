// A form with files, as browsers and curl send it: multipart/form-data (RFC 7578).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace onebit::server {

struct FormPart {
  std::string name, filename;
  std::string_view data;  // within the body
};

/// Reads a body whose Content-Type is `type`. Errors: it is no form, it is cut short, it has more than kMostFormParts.
ApiResult<std::vector<FormPart>> read_form(std::string_view type, std::string_view body);

inline constexpr size_t kMostFormParts = 32;

/// The part of that name; null where there is none, the last where there are several.
const FormPart* part_of(const std::vector<FormPart>& form, std::string_view name);

}  // namespace onebit::server
