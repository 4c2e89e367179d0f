// A batch that several processes answer together, each its share of the lines (base/share.h).
#pragma once

#include <functional>

#include "halo/batch_lines.h"

namespace onebit::halo {

struct BatchFiles {
  std::string in, out, model_name;
  const server::ApiContext* context;
};

/// Answers all shares of files.in, together with whoever else does, `own` first; returns when files.out has every
/// answer in the order of the requests, whoever put them there. Until then each share's are in a file beside it.
/// `answer` answers what is left of one share. Errors: standard input, which nobody else reads; files as of BatchReader
/// and BatchWriter.
Status batch_together(const BatchFiles& files, Share own,
                      const std::function<Status(BatchReader&, BatchWriter&)>& answer);

}  // namespace onebit::halo
