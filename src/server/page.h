// The chat page that the program carries (base/web_file.h), as answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/connection.h"

namespace onebit::server {

/// "/" and the page's files: these need no key, and are there while the model loads.
bool is_page(std::string_view path);

/// A file of the page, compressed where the client takes that, or 304 where it has it. Where the program was built
/// without the page, a sentence that says so. Adds headers to the answer: what the page may do stands there.
HttpResponse page_response(Connection& connection);

/// Whether a client whose Accept-Encoding says this takes gzip (RFC 9110, 12.5.3); one that sends none does not.
bool takes_gzip(std::string_view accept_encoding);

/// What web/embed.mjs compressed: gzip without optional fields.
std::string gunzip(std::span<const uint8_t> gzip);

}  // namespace onebit::server
