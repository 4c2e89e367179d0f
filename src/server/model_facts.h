// What a model file says of itself, for those who list models.
#pragma once

#include <string>

#include "format/h1b_file.h"

namespace onebit::server {

struct ModelFacts {
  uint64_t bytes = 0;
  std::string digest;    // of its contents
  int64_t modified = 0;  // Unix time of the file
  uint64_t parameters = 0;
  std::string weights;  // how the feed-forward's are packed: "t2", "t1_6", …
  ModelConfig config;
};

ModelFacts facts_of(const H1bFile& file);

}  // namespace onebit::server
