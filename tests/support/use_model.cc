#include "tests/support/use_model.h"

#include "backend/reference_backend.h"
#include "format/h1b_file.h"

namespace onebit::test {

Use use_model(const std::string& path) {
  Use use;
  const auto file = H1bFile::open(path);
  if (!file) {
    use.file_errors.push_back(file.error());
    return use;
  }
  use.opened = true;
  if (const auto verified = file->verify()) {
    use.verified = true;
  } else {
    use.file_errors.push_back(verified.error());
  }
  if (const auto data = file->tokenizer(); !data) use.file_errors.push_back(data.error());
  for (const auto choice : {HeadChoice::kStored, HeadChoice::kEmbedding}) {
    if (choice == HeadChoice::kEmbedding && !file->config().tied_head) continue;
    auto weights = bind_weights(*file, choice);
    if (!weights) {
      use.file_errors.push_back(weights.error());
      continue;
    }
    use.bound = true;
    const auto backend = make_reference_backend(*std::move(weights), KvType::kQ8);
    const auto kv = backend->new_kv_cache();
    const TokenId token = 0;
    const BatchItem item{kv.get(), {&token, 1}, LogitRows::kLast};
    Logits logits;
    if (const auto status = backend->forward({&item, 1}, logits); !status) use.forward_error = status.error();
  }
  return use;
}

}  // namespace onebit::test
