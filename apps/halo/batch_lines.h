// The lines of OpenAI's Batch API: requests as they are read, answers as they are written.
// https://platform.openai.com/docs/guides/batch
#pragma once

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "base/result.h"
#include "base/share.h"
#include "server/protocol.h"

namespace onebit::halo {

/// A line of the input. `call` is what to do, or the error that answers it.
struct BatchLine {
  uint64_t number = 0;                   // from 1, blank lines too
  uint64_t hash = 0;                     // of the line, by which its answer knows it
  std::optional<std::string> custom_id;  // where the line has one
  bool is_request = false;  // a JSON object with a method, a url and a body; otherwise the error is of the line
  server::ApiResult<server::ApiCall> call;
  const server::Protocol* protocol = nullptr;  // where is_request
};

/// Reads requests one after another.
class BatchReader {
 public:
  /// Of the requests, blank lines aside, only those of `share`. `path`: "-" is standard input. `context` must outlive
  /// it.
  static Result<BatchReader> open(const std::string& path, const server::ApiContext& context, Share share = {});

  /// Nothing at the end of the input. An error: it cannot be read.
  Result<std::optional<BatchLine>> next();
  /// The same without looking at what is asked for, for a line that has its answer.
  Result<std::optional<BatchLine>> skip();

 private:
  explicit BatchReader(const server::ApiContext& context) : context_(&context) {}
  Result<std::optional<BatchLine>> read(bool whole);

  const server::ApiContext* context_;
  std::unique_ptr<std::ifstream> file_;  // null: standard input
  std::string path_;
  Share share_;
  uint64_t number_ = 0;
  uint64_t requests_ = 0;  // of all shares
  std::unordered_set<std::string> ids_;
};

/// The line that answers `line`: with the body of an answer (JSON), or with the error that `call` or the engine gave.
std::string answer_line(const BatchLine& line, const std::string& body);
std::string error_line(const BatchLine& line, const server::ApiError& error);
/// The start of the answer's ids, the same for the same line.
std::string line_id(const BatchLine& line);

/// The file of answers, which only grows: a line is written whole or is cut off when the next run opens it.
class BatchWriter {
 public:
  /// Opens `path`, and leads `reader` past the requests that have their answers there. Errors: the answers are to other
  /// requests, or of another model than `model_name`; the file cannot be read or written.
  static Result<BatchWriter> open(const std::string& path, BatchReader& reader, const std::string& model_name);
  /// The same, and nothing where another process writes it.
  static Result<std::optional<BatchWriter>> open_if_free(const std::string& path, BatchReader& reader,
                                                         const std::string& model_name);

  Status write(const std::string& line);
  Status flush();
  uint64_t found() const { return found_; }  // answers of earlier runs

 private:
  explicit BatchWriter(std::string path) : path_(std::move(path)) {}
  bool lock();

  std::string path_;
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> lock_;  // held as long as it is written
  std::ofstream file_;
  uint64_t found_ = 0;
};

}  // namespace onebit::halo
