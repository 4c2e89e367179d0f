#include "server/model_facts.h"

#include <sys/stat.h>

#include "format/model_tensors.h"

namespace onebit::server {

ModelFacts facts_of(const H1bFile& file) {
  ModelFacts facts{.bytes = file.file_bytes(),
                   .digest = fmt::format("{:016x}", file.identity()),
                   .weights = {},
                   .config = file.config()};
  struct stat status{};
  if (::stat(file.path().c_str(), &status) == 0) facts.modified = status.st_mtime;
  for (const auto& tensor : file.tensors()) {
    if (tensor.name == kHeadName && file.config().tied_head) continue;  // the embedding's, counted there
    facts.parameters += tensor.rows * tensor.columns;
    if (tensor.name == tensor_name(0, Linear::kGate)) facts.weights = name_of(tensor.packing);
  }
  return facts;
}

}  // namespace onebit::server
