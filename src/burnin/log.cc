#include "burnin/log.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace onebit::burnin {
namespace {

using Json = nlohmann::ordered_json;

/// Reads the fields that to_line() writes first, in their order: a hundred times as fast as JSON, and nothing that a
/// text says can be taken for a field.
class Scanner {
 public:
  explicit Scanner(std::string_view line) : rest_(line) {}
  bool literal(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  template <class Number>
  bool number(std::string_view name, Number& value) {
    if (!literal(name)) return false;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return true;
  }
  bool word(std::string_view name, std::string_view& value) {
    if (!literal(name)) return false;
    const size_t end = rest_.find('"');
    if (end == std::string_view::npos) return false;
    value = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }

 private:
  std::string_view rest_;
};

std::optional<RoundNumbers> scan(std::string_view line) {
  RoundNumbers r;
  std::string_view verdict;
  Scanner s(line);
  const bool ours = s.number("{\"round\":", r.number) && s.number(",\"time\":", r.time) &&
                    s.word(",\"prompt\":\"", r.prompt) && s.word(",\"verdict\":\"", verdict) &&
                    s.number(",\"a_ms\":", r.a_ms) && s.number(",\"b_ms\":", r.b_ms) &&
                    s.number(",\"bytes\":", r.bytes) && s.number(",\"prefix\":", r.prefix);
  const auto known = verdict_named(verdict);
  const auto within = [](double value, double most) { return value >= 0 && value < most; };  // no NaN is
  if (!ours || !known || line.back() != '}' || !within(r.time, 1e11) || !within(r.a_ms, 1e12) || !within(r.b_ms, 1e12))
    return std::nullopt;
  r.verdict = *known;
  return r;
}

double rounded(double ms) {
  return std::round(ms * 1000) / 1000;
}

constexpr size_t kMostText = 400;

}  // namespace

std::string to_line(const Round& r) {
  Json line{{"round", r.number},       {"time", rounded(r.time)}, {"prompt", r.prompt}, {"verdict", name_of(r.verdict)},
            {"a_ms", rounded(r.a_ms)}, {"b_ms", rounded(r.b_ms)}, {"bytes", r.bytes},   {"prefix", r.prefix}};
  if (r.divergence)
    line["divergence"] = {{"token", r.divergence->token},
                          {"a", r.divergence->a.token.substr(0, kMostText)},
                          {"a_logprob", r.divergence->a.logprob},
                          {"b", r.divergence->b.token.substr(0, kMostText)},
                          {"b_logprob", r.divergence->b.logprob}};
  const bool differ = r.verdict == Verdict::kPrefixOnly || r.verdict == Verdict::kNoMatch;
  if (differ) {
    line["a"] = r.a_text.substr(0, kMostText);
    line["b"] = r.b_text.substr(0, kMostText);
  }
  if (!r.error.empty()) line["error"] = r.error.substr(0, kMostText);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<Round> parse_line(std::string_view text) {
  const auto numbers = scan(text);
  const auto line = numbers ? Json::parse(text, nullptr, false) : Json();
  if (!numbers || !line.is_object()) return std::nullopt;
  const auto word = [](const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  Round r;
  r.number = numbers->number;
  r.time = numbers->time;
  r.prompt = numbers->prompt;
  r.verdict = numbers->verdict;
  r.a_ms = numbers->a_ms;
  r.b_ms = numbers->b_ms;
  r.bytes = numbers->bytes;
  r.prefix = numbers->prefix;
  r.a_text = word(line, "a");
  r.b_text = word(line, "b");
  r.error = word(line, "error");
  const auto number = [](const Json& object, const char* name) { return object.value(name, Json()).is_number(); };
  if (const auto it = line.find("divergence"); it != line.end() && it->is_object() && number(*it, "token") &&
                                               number(*it, "a_logprob") && number(*it, "b_logprob"))
    r.divergence = Divergence{(*it)["token"].get<uint32_t>(),
                              {word(*it, "a"), (*it)["a_logprob"].get<double>()},
                              {word(*it, "b"), (*it)["b_logprob"].get<double>()}};
  return r;
}

Result<LogRead> read_log(const std::string& path, double since,
                         const std::function<void(const RoundNumbers&, std::string_view)>& use) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail("{}: cannot be read (halo burnin run writes it)", path);
  constexpr size_t kPiece = size_t{4} << 20, kLongest = size_t{1} << 20;
  std::vector<char> buffer(kPiece + kLongest);
  LogRead read;
  size_t held = 0;  // of a line that is not whole
  while (file) {
    file.read(buffer.data() + held, static_cast<std::streamsize>(kPiece));
    std::string_view text(buffer.data(), held + static_cast<size_t>(file.gcount()));
    for (size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
      const auto line = text.substr(0, end);
      const auto round = scan(line);
      if (!round) ++read.damaged;
      if (!round || round->time < since) continue;
      ++read.rounds;
      use(*round, line);
    }
    if (text.size() > kLongest)
      return fail("{}: holds a line of more than {} bytes: this is no log of rounds", path, kLongest);
    std::copy(text.begin(), text.end(), buffer.begin());
    held = text.size();
  }
  if (file.bad()) return fail("{}: cannot be read", path);
  return read;
}

Result<uint64_t> next_round(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error || size == 0) return uint64_t{0};
  constexpr uint64_t kTail = 1 << 20;  // rounds that ran side by side may stand in another order
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(size > kTail ? size - kTail : 0));
  uint64_t next = 0;
  for (std::string line; std::getline(file, line);)
    if (const auto round = scan(line)) next = std::max(next, round->number + 1);
  if (next == 0 && size > kTail) {
    const auto use = [&](const RoundNumbers& r, std::string_view) { next = std::max(next, r.number + 1); };
    RETURN_IF_ERROR(read_log(path, 0, use));
  }
  if (next == 0) return fail("{}: holds no round: this is no log of burn-in", path);
  return next;
}

}  // namespace onebit::burnin
