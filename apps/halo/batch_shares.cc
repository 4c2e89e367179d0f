#include "halo/batch_shares.h"

#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

namespace onebit::halo {
namespace {

class Shares {
 public:
  Shares(const BatchFiles& files, const std::function<Status(BatchReader&, BatchWriter&)>& answer)
      : files_(files), answer_(answer) {}

  /// Whether the file of all answers has them. It is held for the moment of looking.
  Result<bool> joined() const {
    ASSIGN_OR_RETURN(auto all, open_all());
    ASSIGN_OR_RETURN(const auto next, all.reader.skip());
    return !next.has_value();
  }

  Result<bool> do_share(Share share) const {
    const auto path = share.path(files_.out);
    ASSIGN_OR_RETURN(auto reader, BatchReader::open(files_.in, *files_.context, share));
    ASSIGN_OR_RETURN(auto writer, BatchWriter::open_if_free(path, reader, files_.model_name));
    if (!writer) return false;
    if (writer->found() == 0) {
      // Whoever joined the shares has removed their files since, and this may be a new one.
      ASSIGN_OR_RETURN(const bool all, joined());
      if (all) return std::filesystem::remove(path);
    }
    RETURN_IF_ERROR(answer_(reader, *writer));
    return true;
  }

  Status join(uint32_t count) const {
    ASSIGN_OR_RETURN(auto all, open_all());
    std::vector<std::ifstream> parts;
    for (Share share{0, count}; share.index < count; ++share.index)
      parts.emplace_back(share.path(files_.out), std::ios::binary);
    std::string line;
    uint64_t i = 0;
    for (; i < all.writer.found(); ++i) std::getline(parts[i % count], line);
    for (;; ++i) {
      ASSIGN_OR_RETURN(const auto request, all.reader.skip());
      if (!request) break;
      if (!std::getline(parts[i % count], line))
        return fail("{}: has no answer to line {}: run the same command again",
                    Share{static_cast<uint32_t>(i % count), count}.path(files_.out), request->number);
      RETURN_IF_ERROR(all.writer.write(line));
    }
    RETURN_IF_ERROR(all.writer.flush());
    for (Share share{0, count}; share.index < count; ++share.index) std::filesystem::remove(share.path(files_.out));
    return {};
  }

 private:
  struct All {
    BatchReader reader;
    BatchWriter writer;
  };
  Result<All> open_all() const {
    for (;;) {
      ASSIGN_OR_RETURN(auto reader, BatchReader::open(files_.in, *files_.context));
      ASSIGN_OR_RETURN(auto writer, BatchWriter::open_if_free(files_.out, reader, files_.model_name));
      if (writer) return All{std::move(reader), *std::move(writer)};
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  const BatchFiles& files_;
  const std::function<Status(BatchReader&, BatchWriter&)>& answer_;
};

}  // namespace

Status batch_together(const BatchFiles& files, Share own,
                      const std::function<Status(BatchReader&, BatchWriter&)>& answer) {
  if (files.in == "-") return fail("standard input cannot be shared by {} processes: name a file", own.count);
  const Shares shares(files, answer);
  ASSIGN_OR_RETURN(const bool joined, shares.joined());
  if (joined) return {};
  RETURN_IF_ERROR(do_shares(own, [&shares](Share share) { return shares.do_share(share); }));
  // Another may have been first: then its files are gone, and all answers are there.
  return shares.join(own.count);
}

}  // namespace onebit::halo
