#include "server/form.h"

#include <algorithm>
#include <optional>

namespace onebit::server {
namespace {

constexpr size_t kLongestBoundary = 70;  // RFC 2046
constexpr size_t kMostPartHeader = 4096;

tl::unexpected<ApiError> no_form(const char* why) {
  return tl::unexpected(ApiError{.message = std::string("the body is no multipart/form-data: ") + why});
}

char lower_letter(char c) {
  return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower_letter(x) == lower_letter(y); });
}

void skip_spaces(std::string_view& rest) {
  while (rest.starts_with(' ') || rest.starts_with('\t')) rest.remove_prefix(1);
}

/// A value after "=": a word, or in quotes.
std::string take_value(std::string_view& rest) {
  std::string value;
  if (!rest.starts_with('"')) {
    const auto word = rest.substr(0, rest.find_first_of("; \t"));
    rest.remove_prefix(word.size());
    return std::string(word);
  }
  rest.remove_prefix(1);
  while (!rest.empty() && rest.front() != '"') {
    if (rest.front() == '\\' && rest.size() > 1) rest.remove_prefix(1);
    value += rest.front();
    rest.remove_prefix(1);
  }
  if (!rest.empty()) rest.remove_prefix(1);
  return value;
}

/// The parameter of a header's value, such as name of: form-data; name="file".
std::optional<std::string> parameter(std::string_view value, std::string_view name) {
  auto rest = value;
  rest.remove_prefix(std::min(rest.size(), rest.find(';')));
  while (rest.starts_with(';')) {
    rest.remove_prefix(1);
    skip_spaces(rest);
    const auto key = rest.substr(0, rest.find_first_of("=;"));
    rest.remove_prefix(key.size());
    if (!rest.starts_with('=')) continue;
    rest.remove_prefix(1);
    auto text = take_value(rest);
    if (same_word(key, name)) return text;
    rest.remove_prefix(std::min(rest.size(), rest.find(';')));
  }
  return std::nullopt;
}

/// The value of Content-Disposition among a part's headers.
std::string_view disposition(std::string_view headers) {
  constexpr std::string_view kName = "content-disposition:";
  while (!headers.empty()) {
    auto line = headers.substr(0, headers.find("\r\n"));
    headers.remove_prefix(std::min(headers.size(), line.size() + 2));
    if (line.size() < kName.size() || !same_word(line.substr(0, kName.size()), kName)) continue;
    line.remove_prefix(kName.size());
    skip_spaces(line);
    return line;
  }
  return {};
}

}  // namespace

ApiResult<std::vector<FormPart>> read_form(std::string_view type, std::string_view body) {
  if (!same_word(type.substr(0, type.find_first_of("; \t")), "multipart/form-data"))
    return no_form("its Content-Type says otherwise");
  const auto boundary = parameter(type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kLongestBoundary) return no_form("it has no boundary");
  const std::string mark = "--" + *boundary, next = "\r\n" + mark;
  const size_t begin = body.starts_with(mark) ? 0 : body.find(next);
  if (begin == std::string_view::npos) return no_form("its boundary is not there");
  body.remove_prefix(begin + (begin == 0 ? mark.size() : next.size()));
  std::vector<FormPart> form;
  while (!body.starts_with("--")) {
    if (form.size() == kMostFormParts) return no_form("it has too many parts");
    skip_spaces(body);
    if (!body.starts_with("\r\n")) return no_form("a boundary ends in the midst of a line");
    const auto header_end = body.substr(0, kMostPartHeader).find("\r\n\r\n");
    if (header_end == std::string_view::npos) return no_form("a part has no end of its header");
    const auto value = disposition(body.substr(2, header_end - std::min<size_t>(header_end, 2)));
    const auto name = parameter(value, "name");
    if (!name) return no_form("a part has no name");
    body.remove_prefix(header_end + 4);
    const auto data_end = body.find(next);
    if (data_end == std::string_view::npos) return no_form("it is cut short");
    form.push_back({*name, parameter(value, "filename").value_or(""), body.substr(0, data_end)});
    body.remove_prefix(data_end + next.size());
  }
  return form;
}

const FormPart* part_of(const std::vector<FormPart>& form, std::string_view name) {
  const auto it = std::find_if(form.rbegin(), form.rend(), [&](const FormPart& part) { return part.name == name; });
  return it == form.rend() ? nullptr : &*it;
}

}  // namespace onebit::server
