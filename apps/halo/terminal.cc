#include "halo/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace onebit::halo {
namespace {

std::string styled(const char* code, std::string_view text, std::FILE* stream) {
  return wants_colour(stream) ? fmt::format("\033[{}m{}\033[0m", code, text) : std::string(text);
}

}  // namespace

bool wants_colour(std::FILE* stream) {
  const char* no_colour = std::getenv("NO_COLOR");
  if (no_colour != nullptr && *no_colour != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return ::isatty(::fileno(stream)) != 0;
}

std::string dim(std::string_view text, std::FILE* stream) {
  return styled("2", text, stream);
}
std::string bold(std::string_view text, std::FILE* stream) {
  return styled("1", text, stream);
}

}  // namespace onebit::halo
