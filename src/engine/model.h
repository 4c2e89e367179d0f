// A model that is ready to answer: file, tokenizer and backend, opened together.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/step_profile.h"
#include "backend/weights.h"
#include "format/h1b_file.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

/// Both give the same bits. The reference computes on one thread, as plainly as it can be written.
enum class Engine { kCpu, kReference };

struct ModelOptions {
  KvType kv_type = KvType::kF16;
  HeadChoice head = HeadChoice::kStored;
  Engine engine = Engine::kCpu;
  unsigned threads = 0;            // of the engine cpu; 0: one for each processor this process may use
  bool pin = false;                // each thread on a processor of its own
  StepProfile* profile = nullptr;  // where the engine cpu adds its times, if anywhere
};

class Model {
 public:
  /// Errors name the file and what is wrong with it, or an instruction set in $HALO_ISA that cannot be used.
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
