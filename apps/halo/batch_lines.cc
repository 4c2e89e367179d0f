#include "halo/batch_lines.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "server/json_body.h"

namespace onebit::halo {
namespace {

using Json = nlohmann::ordered_json;
using server::ApiError;
using server::dump;
using server::too_deep;

/// Beyond this a line is no request of a person's making; the server's default for bodies is a fraction of it.
constexpr size_t kMostBytes = size_t{64} << 20;

/// The next line without its end; of one that is longer than kMostBytes, so much and a byte. False at the input's end.
bool read_line(std::istream& in, std::string& text) {
  text.clear();
  auto* from = in.rdbuf();
  bool any = false;
  for (int c = from->sbumpc(); c != std::istream::traits_type::eof(); c = from->sbumpc()) {
    any = true;
    if (c == '\n') return true;
    if (text.size() <= kMostBytes) text += static_cast<char>(c);
  }
  in.setstate(std::ios::eofbit);
  return any;
}

ApiError bad_line(std::string message) {
  return {.message = std::move(message), .code = "invalid_line"};
}

const server::Protocol* protocol_of(std::string_view url) {
  if (url == "/v1/chat/completions") return &server::kChatProtocol;
  if (url == "/v1/completions") return &server::kCompletionProtocol;
  if (url == "/v1/responses") return &server::kResponsesProtocol;
  return url == "/v1/embeddings" ? &server::kEmbeddingsProtocol : nullptr;
}

/// What the line asks for; `line` gets its id on the way.
/// `context` null: only whose line it is.
server::ApiResult<server::ApiCall> read_call(const std::string& text, const server::ApiContext* context,
                                             BatchLine& line, std::unordered_set<std::string>& ids) {
  const auto fault = [](std::string message) { return tl::unexpected(bad_line(std::move(message))); };
  if (text.size() > kMostBytes) return fault("the line is longer than 64 MiB");
  if (too_deep(text)) return fault("the line is nested too deeply");
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return fault("the line is no JSON object");
  const auto text_of = [&](const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_string() ? std::optional(it->get<std::string>()) : std::nullopt;
  };
  line.custom_id = text_of("custom_id");
  if (!line.custom_id) return fault("custom_id must be a string");
  if (!ids.insert(*line.custom_id).second) return fault("custom_id is that of an earlier line");
  if (context == nullptr) return tl::unexpected(ApiError{});
  const auto url = text_of("url");
  const auto body = json.find("body");
  if (text_of("method") != "POST") return fault("method must be \"POST\"");
  const auto* protocol = protocol_of(url.value_or(""));
  if (protocol == nullptr)
    return fault("url must be /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings");
  if (body == json.end() || !body->is_object()) return fault("body must be an object");
  line.is_request = true;
  const auto request = body->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  line.protocol = protocol;
  auto call = protocol->read(request, *context);
  if (call && call->stream)
    return tl::unexpected(ApiError{.message = "a batch has no streams", .param = "stream", .code = "invalid_value"});
  return call;
}

std::string with_response(const BatchLine& line, int status, Json body) {
  const auto id = line_id(line);
  return dump(Json{{"id", "batch_req_" + id},
                   {"custom_id", line.custom_id ? Json(*line.custom_id) : Json()},
                   {"response", {{"status_code", status}, {"request_id", "req_" + id}, {"body", std::move(body)}}},
                   {"error", nullptr}});
}

}  // namespace

std::string line_id(const BatchLine& line) {
  const auto text = fmt::format("{} {:016x}", line.number, line.hash);
  return fmt::format("{:016x}", xxh3(std::as_bytes(std::span(text))));
}

std::string answer_line(const BatchLine& line, const std::string& body) {
  return with_response(line, 200, Json::parse(body));
}

std::string error_line(const BatchLine& line, const ApiError& error) {
  if (line.is_request) return with_response(line, error.status, Json::parse(error.json()));
  return dump(
      Json{{"id", "batch_req_" + line_id(line)},
           {"custom_id", line.custom_id ? Json(*line.custom_id) : Json()},
           {"response", nullptr},
           {"error", {{"code", error.code}, {"message", fmt::format("line {}: {}", line.number, error.message)}}}});
}

Result<BatchReader> BatchReader::open(const std::string& path, const server::ApiContext& context, Share share) {
  BatchReader reader(context);
  reader.share_ = share;
  reader.path_ = path == "-" ? "standard input" : path;
  if (path == "-") return reader;
  reader.file_ = std::make_unique<std::ifstream>(path, std::ios::binary);
  std::error_code code;
  if (!*reader.file_ || std::filesystem::is_directory(path, code))
    return fail("{}: cannot open: {}", path, code || *reader.file_ ? "it is a folder" : std::strerror(errno));
  return reader;
}

Result<std::optional<BatchLine>> BatchReader::next() {
  return read(true);
}
Result<std::optional<BatchLine>> BatchReader::skip() {
  return read(false);
}

Result<std::optional<BatchLine>> BatchReader::read(bool whole) {
  std::istream& in = file_ ? static_cast<std::istream&>(*file_) : std::cin;
  for (std::string text; read_line(in, text);) {
    ++number_;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    BatchLine line{.number = number_,
                   .hash = xxh3(std::as_bytes(std::span(text))),
                   .custom_id = {},
                   .call = tl::unexpected(ApiError{})};
    const bool ours = requests_++ % share_.count == share_.index;
    line.call = read_call(text, whole && ours ? context_ : nullptr, line, ids_);  // of every line, for its id
    if (!ours) continue;
    return std::optional(std::move(line));
  }
  if (in.bad()) return fail("{}: cannot read", path_);
  return std::optional<BatchLine>();
}

/// Two runs would write the same answers twice. A pipe or a terminal has no second writer to fear.
bool BatchWriter::lock() {
  lock_.reset(std::fopen(path_.c_str(), "ae"));
  if (lock_ == nullptr) return true;  // opening it for writing says why
  return ::flock(::fileno(lock_.get()), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

Result<BatchWriter> BatchWriter::open(const std::string& path, BatchReader& reader, const std::string& model_name) {
  ASSIGN_OR_RETURN(auto writer, open_if_free(path, reader, model_name));
  if (!writer) return fail("{}: another run writes its answers there", path);
  return *std::move(writer);
}

Result<std::optional<BatchWriter>> BatchWriter::open_if_free(const std::string& path, BatchReader& reader,
                                                             const std::string& model_name) {
  BatchWriter writer(path);
  if (!writer.lock()) return std::nullopt;
  uint64_t bytes = 0;  // of whole lines
  std::error_code code;
  if (std::ifstream old(path, std::ios::binary); old && std::filesystem::is_regular_file(path, code)) {
    for (std::string text; read_line(old, text) && !old.eof();) {
      const auto other = [&] {
        return fail("{}: line {} does not answer the input's: name another file, or remove this one", path,
                    writer.found_ + 1);
      };
      const auto json = too_deep(text) ? nlohmann::json() : nlohmann::json::parse(text, nullptr, false);
      if (!json.is_object() || !json.contains("custom_id")) return other();
      ASSIGN_OR_RETURN(const auto line, reader.skip());
      const auto& id = json["custom_id"];
      if (!line || (line->custom_id ? id != *line->custom_id : !id.is_null())) return other();
      if (!json.contains("id") || json["id"] != "batch_req_" + line_id(*line)) return other();
      const auto model = nlohmann::json::json_pointer("/response/body/model");
      if (json.contains(model) && json[model] != model_name)
        return fail("{}: line {} was answered by another model: name another file, or remove this one", path,
                    writer.found_ + 1);
      bytes += text.size() + 1;
      ++writer.found_;
    }
    if (std::filesystem::file_size(path, code) > bytes)
      std::filesystem::resize_file(path, bytes, code);  // a line that was being written
    if (code) return fail("{}: cannot cut off a line that is not whole: {}", path, code.message());
  }
  writer.file_.open(path, std::ios::binary | std::ios::app);
  if (!writer.file_) return fail("{}: cannot open: {}", path, std::strerror(errno));
  return std::optional(std::move(writer));
}

Status BatchWriter::write(const std::string& line) {
  file_ << line << '\n';
  return file_ ? Status() : fail("{}: cannot write: {}", path_, std::strerror(errno));
}

Status BatchWriter::flush() {
  file_.flush();
  return file_ ? Status() : fail("{}: cannot write: {}", path_, std::strerror(errno));
}

}  // namespace onebit::halo
