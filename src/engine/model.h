// A model that is ready to answer: file, tokenizer and backend, opened together.
#pragma once

#include <memory>
#include <string>

#include "backend/reference_backend.h"
#include "format/h1b_file.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

struct ModelOptions {
  KvType kv_type = KvType::kF16;
  HeadChoice head = HeadChoice::kStored;
};

class Model {
 public:
  /// Errors name the file and what is wrong with it.
  static Result<Model> open(const std::string& path, const ModelOptions& options = {});

  const H1bFile& file() const { return *file_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  Backend& backend() { return *backend_; }

 private:
  // By pointer, so that what borrows from them stays valid when the model moves.
  std::unique_ptr<H1bFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Backend> backend_;
};

/// File and tokenizer only, for work that computes nothing.
Result<Tokenizer> open_tokenizer(const H1bFile& file);

}  // namespace onebit
