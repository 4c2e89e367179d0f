#include "engine/model.h"

#include "backend/cpu_backend.h"
#include "backend/reference_backend.h"

namespace onebit {

Result<Tokenizer> open_tokenizer(const H1bFile& file) {
  ASSIGN_OR_RETURN(auto data, file.tokenizer());
  return Tokenizer::create(std::move(data));
}

Result<Model> Model::open(const std::string& path, const ModelOptions& options) {
  Model model;
  ASSIGN_OR_RETURN(auto file, H1bFile::open(path));
  model.file_ = std::make_unique<H1bFile>(std::move(file));
  ASSIGN_OR_RETURN(auto tokenizer, open_tokenizer(*model.file_));
  model.tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  ASSIGN_OR_RETURN(auto weights, bind_weights(*model.file_, options.head));
  if (options.engine == Engine::kReference) {
    model.backend_ = make_reference_backend(std::move(weights), options.kv_type);
  } else {
    ASSIGN_OR_RETURN(const auto* kernels, cpu::chosen_kernels());
    model.backend_ = make_cpu_backend(std::move(weights), {.kv_type = options.kv_type,
                                                           .threads = options.threads,
                                                           .pin = options.pin,
                                                           .profile = options.profile,
                                                           .kernels = kernels});
  }
  return model;
}

}  // namespace onebit
