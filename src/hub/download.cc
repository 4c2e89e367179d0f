#include "hub/download.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/utf8.h"
#include "hub/part_file.h"

namespace onebit::hub {
namespace {

using Clock = std::chrono::steady_clock;

/// After what a host lists and what comes are not the same.
constexpr std::string_view kAdvice =
    "try again; if it stays so, the host or a proxy before it is at fault: take another with --endpoint";

bool is_strong(const std::string& etag) {
  return etag.size() > 2 && etag.starts_with('"') && etag.ends_with('"');
}

/// What may be kept of an ETag: short and plain, since it is sent back.
std::string fit_etag(const std::string& etag) {
  constexpr size_t kLongest = 256;
  const bool fits =
      etag.size() <= kLongest && std::all_of(etag.begin(), etag.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return fits ? etag : std::string();
}

class Job {
 public:
  Job(Fetcher& fetcher, const HostOptions& options, const Download& what, const DownloadProgress& progress,
      PartFile part)
      : fetcher_(fetcher),
        options_(options),
        what_(what),
        name_(fmt::format("{}: {}", what.repo, printable(what.file.path, 80))),
        progress_(progress),
        part_(std::move(part)) {}
  ~Job() { cancel_all(); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Result<Downloaded> run();

 private:
  /// What an answer's headers led to besides an error.
  enum class Turn { kNone, kRangesIgnored, kChanged };

  Status fetch();
  void start_more();
  void start(size_t chunk);
  Status take_head(const ReplyHead& head, uint64_t from, uint64_t end, bool ranged);
  Status check_range(const ReplyHead& head, uint64_t from, uint64_t end) const;
  Status take_end(size_t chunk, const GetOutcome& outcome);
  Status take_turn();
  Status note_failure(size_t chunk, const GetOutcome& outcome);
  void cancel_all();

  Fetcher& fetcher_;
  const HostOptions& options_;
  const Download& what_;
  std::string name_;    // begins errors
  std::string sender_;  // the host of the last answer; others may send what the endpoint lists
  const DownloadProgress& progress_;
  PartFile part_;

  std::map<uint64_t, size_t> running_;   // GET -> chunk
  std::map<size_t, uint64_t> credited_;  // how far a chunk had come when its failures were last forgiven
  bool ranges_ignored_ = false;          // so that all is one GET from the beginning
  Turn turn_ = Turn::kNone;
  unsigned failures_ = 0;  // in a row
  unsigned changes_ = 0;
  Clock::time_point not_before_{};
};

void Job::cancel_all() {
  for (const auto& [id, chunk] : running_) fetcher_.cancel(id);
  running_.clear();
}

void Job::start(size_t index) {
  auto& chunk = part_.chunks()[index];
  if (ranges_ignored_) part_.forget_chunk(index);
  const uint64_t from = chunk.begin + chunk.done, end = chunk.end;
  const bool ranged = from > 0 || end < what_.file.size;
  GetRequest get{.url = what_.url, .what = name_, .range = {}, .if_range = {}, .on_head = {}, .on_body = {}};
  if (ranged) get.range = {from, end};
  if (ranged && is_strong(part_.etag())) get.if_range = part_.etag();
  get.on_head = [this, from, end, ranged](const ReplyHead& head) { return take_head(head, from, end, ranged); };
  get.on_body = [this, index](std::string_view piece) -> Status {
    if (piece.size() > part_.chunks()[index].left())
      return fail("{}: {} sends more than it said: {} bytes are listed by {}: {}", name_, sender_, what_.file.size,
                  fetcher_.endpoint(), kAdvice);
    return part_.append(index, piece);
  };
  running_[fetcher_.start(std::move(get))] = index;
}

void Job::start_more() {
  if (Clock::now() < not_before_) return;
  const size_t most = failures_ > 0 ? 1 : options_.connections;  // a host in trouble is asked for less
  for (size_t i = 0; i < part_.chunks().size() && running_.size() < most; ++i) {
    const bool taken = std::any_of(running_.begin(), running_.end(), [&](const auto& r) { return r.second == i; });
    if (part_.chunks()[i].left() > 0 && !taken) start(i);
  }
}

Status Job::check_range(const ReplyHead& head, uint64_t from, uint64_t end) const {
  if (head.range_total && *head.range_total != what_.file.size)
    return fail("{}: {} lists {} bytes, but its file has {} at {}: {}", name_, fetcher_.endpoint(), what_.file.size,
                *head.range_total, sender_, kAdvice);
  if (head.range_begin != from || head.range_last != end - 1)
    return fail("{}: {} answers with another range than bytes {} to {}: {}", name_, sender_, from, end - 1, kAdvice);
  return {};
}

Status Job::take_head(const ReplyHead& head, uint64_t from, uint64_t end, bool ranged) {
  sender_ = head.origin;
  const auto& file = what_.file;
  const auto& listed = file.sha256.empty() ? file.git_sha1 : file.sha256;
  if (!head.linked_etag.empty() && !listed.empty() && head.linked_etag.size() == listed.size() &&
      head.linked_etag != listed)
    return fail("{}: {} lists the hash {} and now names {}: try again, it may have changed", name_, fetcher_.endpoint(),
                listed, printable(head.linked_etag, 64));
  const auto etag = fit_etag(head.etag);
  if (!etag.empty() && !part_.etag().empty() && etag != part_.etag()) {
    turn_ = Turn::kChanged;
    return fail("{}: changed", name_);
  }
  if (head.status == 200 && ranged) {
    turn_ = Turn::kRangesIgnored;
    return fail("{}: ranges are ignored", name_);
  }
  if (head.status == 206 && !ranged)
    return fail("{}: {} answers with a part where all was asked for: {}", name_, sender_, kAdvice);
  if (head.status == 206) RETURN_IF_ERROR(check_range(head, from, end));
  if (head.status == 200 && head.length && *head.length != file.size)
    return fail("{}: {} lists {} bytes, but {} would send {}: {}", name_, fetcher_.endpoint(), file.size, sender_,
                *head.length, kAdvice);
  if (part_.etag().empty()) part_.set_etag(etag);
  return {};
}

Status Job::note_failure(size_t index, const GetOutcome& outcome) {
  const uint64_t done = part_.chunks()[index].done;
  auto& credited = credited_[index];
  if (done >= credited + what_.sizes.progress) {
    credited = done;
    failures_ = 0;
  }
  ASSIGN_OR_RETURN(const auto wait, wait_before_retry(options_, ++failures_, outcome));
  not_before_ = std::max(not_before_, Clock::now() + wait);
  return {};
}

Status Job::take_turn() {
  cancel_all();
  if (std::exchange(turn_, Turn::kNone) == Turn::kRangesIgnored) {
    ranges_ignored_ = true;
    part_.forget(true);
  } else {
    if (++changes_ > 1)
      return fail("{}: changes on the host ({}) while it is fetched: try again later", name_, sender_);
    part_.forget(ranges_ignored_);
  }
  credited_.clear();
  return {};
}

Status Job::take_end(size_t index, const GetOutcome& outcome) {
  using Kind = GetOutcome::Kind;
  constexpr int kRangeNotSatisfiable = 416;
  if (outcome.status == kRangeNotSatisfiable) turn_ = Turn::kChanged;
  if (turn_ != Turn::kNone) return take_turn();
  if (outcome.kind == Kind::kFailed) return tl::unexpected(outcome.error);
  const auto& chunk = part_.chunks()[index];
  if (chunk.left() == 0) {
    failures_ = 0;
    return {};
  }
  if (outcome.kind == Kind::kRetry) return note_failure(index, outcome);
  const auto message = fmt::format("{}: the answer ended {} bytes early", name_, chunk.left());
  return note_failure(index, {Kind::kRetry, outcome.status, Error{message}});
}

Status Job::fetch() {
  constexpr auto kBetweenSaves = std::chrono::seconds(1);
  auto saved = Clock::now();
  while (!part_.whole()) {
    if (options_.stop()) {
      cancel_all();
      return fail("{}: stopped", name_);
    }
    start_more();
    const auto ended = fetcher_.work();
    for (const auto& [id, outcome] : ended) {
      const auto it = running_.find(id);
      if (it == running_.end()) continue;  // ended by another's turn
      const size_t chunk = it->second;
      running_.erase(it);
      RETURN_IF_ERROR(take_end(chunk, outcome));
    }
    if (progress_) progress_(part_.done(), failures_ > 0 ? "waiting" : "fetching");
    if (Clock::now() - saved > kBetweenSaves) {
      RETURN_IF_ERROR(part_.save());
      saved = Clock::now();
    }
    if (running_.empty() && Clock::now() < not_before_)
      RETURN_IF_ERROR(wait_for(options_, std::chrono::milliseconds(20), name_));
  }
  cancel_all();
  return {};
}

Result<Downloaded> Job::run() {
  const auto& file = what_.file;
  const bool has_hash = !file.sha256.empty() || !file.git_sha1.empty();
  if (!has_hash && part_.etag().empty()) part_.forget();  // nothing says that the rest will be of the same file
  Downloaded result{.kept = part_.done(), .verified = false};
  for (bool again = false;; again = true) {
    RETURN_IF_ERROR(fetch());
    if (progress_) progress_(file.size, "checking");
    ASSIGN_OR_RETURN(const auto contents, part_.verify(options_.stop));
    if (contents != Contents::kWrong) {
      result.verified = contents == Contents::kRight;
      RETURN_IF_ERROR(part_.finish());
      return result;
    }
    if (result.kept == 0 || again) break;
    part_.forget(ranges_ignored_);  // what was kept from earlier may be what is wrong
    result.kept = 0;
  }
  part_.remove();
  return fail("{}: what {} sent has not the hash that {} lists ({}), and was thrown away: {}", name_,
              sender_.empty() ? fetcher_.endpoint() : sender_, fetcher_.endpoint(),
              file.sha256.empty() ? "git " + file.git_sha1 : "sha256 " + file.sha256, kAdvice);
}

}  // namespace

Result<Downloaded> download(Fetcher& fetcher, const HostOptions& options, const Download& what,
                            const DownloadProgress& progress) {
  ASSIGN_OR_RETURN(const auto there, check_file(what.path, what.file, options.stop));
  if (there == Contents::kRight) return Downloaded{what.file.size, true};
  ASSIGN_OR_RETURN(auto part, PartFile::open(what.path, what.file, what.sizes.chunk));
  Job job(fetcher, options, what, progress, std::move(part));
  return job.run();
}

}  // namespace onebit::hub
