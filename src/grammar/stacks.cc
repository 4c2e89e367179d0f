#include "grammar/stacks.h"

#include <algorithm>

namespace onebit::grammar {
namespace {

constexpr size_t kSteps = 4096;  // a power of two

uint64_t mix(uint64_t h) {
  h *= 0xBF58476D1CE4E5B9u;
  return h ^ (h >> 31);
}

}  // namespace

Stacks::Stacks(const Program& program) : program_(program), first_{0}, table_(64, 0), steps_(kSteps) {
  first_.push_back(0);  // kNothing, which is not in the table
  const Frame end{kEndState, 0}, open{kOpenState, 0};
  intern({&end, 1});
  intern({&open, 1});
}

uint64_t Stacks::hash(std::span<const Frame> frames) const {
  uint64_t h = frames.size();
  for (const auto& f : frames) h = mix(h ^ (uint64_t{f.state} << 32 | f.parent));
  return h;
}

void Stacks::insert_in_table(SetId set) {
  size_t at = hash(frames(set)) & (table_.size() - 1);
  while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
  table_[at] = set;
  ++in_table_;
}

void Stacks::rehash(size_t size) {
  table_.assign(size, 0);
  in_table_ = 0;
  for (SetId set = 1; set + 1 < first_.size(); ++set) insert_in_table(set);
}

SetId Stacks::intern(std::span<const Frame> wanted) {
  if (wanted.empty()) return kNothing;
  for (size_t at = hash(wanted) & (table_.size() - 1); table_[at] != 0; at = (at + 1) & (table_.size() - 1)) {
    const auto known = frames(table_[at]);
    if (std::equal(known.begin(), known.end(), wanted.begin(), wanted.end())) return table_[at];
  }
  frames_.insert(frames_.end(), wanted.begin(), wanted.end());
  first_.push_back(static_cast<uint32_t>(frames_.size()));
  const auto set = static_cast<SetId>(first_.size() - 2);
  if (2 * (in_table_ + 1) > table_.size())
    rehash(2 * table_.size());
  else
    insert_in_table(set);
  return set;
}

void Stacks::forget(SetId mark) {
  if (mark + 1 >= first_.size()) return;
  // In the order in which they came, so that no gap cuts off what stays.
  for (auto set = static_cast<SetId>(first_.size() - 2); set >= mark; --set) {
    size_t at = hash(frames(set)) & (table_.size() - 1);
    while (table_[at] != set) at = (at + 1) & (table_.size() - 1);
    table_[at] = 0;
    --in_table_;
  }
  first_.resize(mark + 1);
  frames_.resize(first_.back());
  steps_.assign(kSteps, {});
}

SetId Stacks::compact(SetId set) {
  std::vector<bool> needed(first_.size(), false);
  needed[set] = true;
  for (SetId s = set; s > kOpen; --s)  // a set's parents are older than it
    if (needed[s])
      for (const auto& f : frames(s)) needed[f.parent] = true;
  std::vector<SetId> new_id(first_.size(), 0);
  std::vector<Frame> kept;
  std::vector<uint32_t> first{0};
  for (SetId s = 0; s <= set || s <= kOpen; ++s) {
    if (s > kOpen && !needed[s]) continue;
    new_id[s] = static_cast<SetId>(first.size() - 1);
    for (const auto& f : frames(s)) kept.push_back({f.state, new_id[f.parent]});
    first.push_back(static_cast<uint32_t>(kept.size()));
  }
  frames_ = std::move(kept);
  first_ = std::move(first);
  size_t size = 64;
  while (size < 4 * first_.size()) size *= 2;
  rehash(size);
  steps_.assign(kSteps, {});
  return new_id[set];
}

bool Stacks::has(SetId set, StateId state) const {
  const auto all = frames(set);
  return std::any_of(all.begin(), all.end(), [&](const Frame& f) { return f.state == state; });
}

/// Where it is new.
bool Stacks::add(Frame frame) {
  charge(1 + found_.size() / 32);
  if (overflowed_ || std::find(found_.begin(), found_.end(), frame) != found_.end()) return false;
  if (found_.size() >= kMostFrames) overflowed_ = true;
  if (overflowed_) return false;
  found_.push_back(frame);
  return true;
}

/// Adds a frame, what its rule's end returns to, and the rules that it calls.
void Stacks::enter(Frame frame) {
  work_.push_back(frame);
  while (!work_.empty()) {
    const Frame f = work_.back();
    work_.pop_back();
    if (!add(f) || f.state >= kOpenState) continue;
    const auto& state = program_.states[f.state];
    if (state.plain) continue;
    if (state.final)
      for (const auto& parent : frames(f.parent)) work_.push_back(parent);
    for (uint32_t c = state.calls; c < (&state)[1].calls; ++c) {
      const auto& call = program_.calls[c];
      const Frame back{call.next, f.parent};
      work_.push_back({call.start, call.tail ? f.parent : intern({&back, 1})});
    }
  }
}

void Stacks::advance(Frame frame, uint8_t byte) {
  if (frame.state >= kOpenState) return;
  const StateId to = program_.step(frame.state, byte);
  if (to != Program::kDead) enter({to, frame.parent});
}

/// What was entered, as a set: frames of one state become one whose parents are those of all.
SetId Stacks::take() {
  std::erase_if(found_, [&](const Frame& f) { return f.state < kOpenState && program_.states[f.state].silent; });
  std::sort(found_.begin(), found_.end());
  size_t kept = 0;
  for (size_t i = 0; i < found_.size();) {
    size_t end = i + 1;
    while (end < found_.size() && found_[end].state == found_[i].state) ++end;
    Frame frame = found_[i];
    if (end - i > 1 && frame.state < kOpenState) {
      merged_.clear();
      for (size_t k = i; k < end; ++k) {
        const auto parents = frames(found_[k].parent);
        merged_.insert(merged_.end(), parents.begin(), parents.end());
      }
      std::sort(merged_.begin(), merged_.end());
      merged_.erase(std::unique(merged_.begin(), merged_.end()), merged_.end());
      if (merged_.size() > kMostFrames) overflowed_ = true;
      frame.parent = intern(merged_);
    }
    found_[kept++] = frame;
    i = end;
  }
  found_.resize(kept);
  const SetId set = intern(found_);
  found_.clear();
  return set;
}

SetId Stacks::root() {
  if (program_.root != Program::kDead) enter({program_.root, kEnd});
  if (program_.may_be_empty) (void)add({kEndState, 0});
  return take();
}

SetId Stacks::step(SetId set, uint8_t byte) {
  charge(1);
  const uint64_t key = uint64_t{set} << 8 | byte;
  auto& known = steps_[mix(key) & (kSteps - 1)];
  if (known.key == key) return known.to;
  const size_t begin = first_[set], end = first_[set + 1];
  for (size_t i = begin; i < end; ++i) advance(Frame(frames_[i]), byte);
  const SetId to = take();
  steps_[mix(key) & (kSteps - 1)] = {key, to};
  return to;
}

SetId Stacks::step(Frame frame, uint8_t byte) {
  advance(frame, byte);
  return take();
}

SetId Stacks::after(SetId parent) {
  const size_t begin = first_[parent], end = first_[parent + 1];
  for (size_t i = begin; i < end; ++i) enter(Frame(frames_[i]));
  return take();
}

}  // namespace onebit::grammar
