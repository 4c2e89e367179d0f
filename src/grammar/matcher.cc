#include "grammar/matcher.h"

#include <algorithm>

namespace onebit::grammar {
namespace {

/// What one mask, or one token's bytes, may take, in steps of frames: tens of milliseconds.
constexpr uint64_t kMostWork = 500'000;

}  // namespace

Matcher::Matcher(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)), stacks_(grammar_->program()), set_(Stacks::kNothing) {
  stacks_.allow_work(kMostWork);
  set_ = stacks_.root();  // if that is too much, next() says so
}

Status Matcher::next(TokenMask& mask) {
  auto& masks = grammar_->masks();
  const auto& vocabulary = masks.vocabulary();
  mask.assign(vocabulary.mask_words(), 0);
  stacks_.allow_work(kMostWork);
  const auto mark = stacks_.mark();
  const std::vector<Frame> frames(stacks_.frames(set_).begin(), stacks_.frames(set_).end());
  for (const auto& frame : frames) {
    if (frame.state >= Stacks::kOpenState) continue;
    const auto& program = grammar_->program();
    const auto owner = grammar_->number_of(program.states[frame.state].rule);
    const auto tokens = masks.find(owner, program, frame.state, grammar_->kind_of(frame.state), stacks_);
    stacks_.charge(tokens->few.size() / 16 + tokens->many.size() / 16);
    for (const TokenId id : tokens->few) allow(mask, id);
    for (size_t w = 0; w < tokens->many.size(); ++w) mask[w] |= tokens->many[w];
    if (tokens->depend.empty()) continue;
    const SetId after = stacks_.after(frame.parent);
    allow_dependent(vocabulary, *tokens, after, stacks_, mask);
  }
  stacks_.forget(mark);
  if (stacks_.overflowed())
    return fail("the grammar is too ambiguous: the answer so far can be read in more ways than this server follows");
  if (may_end())
    for (const TokenId id : vocabulary.end_tokens()) allow(mask, id);
  return {};
}

bool Matcher::accept(TokenId token) {
  const auto& vocabulary = grammar_->masks().vocabulary();
  if (vocabulary.is_end(token)) return may_end();
  if (vocabulary.is_special(token) || vocabulary.bytes(token).empty()) return false;
  return accept(vocabulary.bytes(token));
}

bool Matcher::accept(std::string_view bytes) {
  SetId set = set_;
  stacks_.allow_work(kMostWork);
  for (const char c : bytes) {
    set = stacks_.step(set, static_cast<uint8_t>(c));
    if (set == Stacks::kNothing) return false;
  }
  if (stacks_.overflowed()) return false;
  set_ = set;
  if (stacks_.mark() >= compact_at_) compact();
  return true;
}

void Matcher::compact() {
  set_ = stacks_.compact(set_);
  compact_at_ = std::max<SetId>(4096, 2 * stacks_.mark());
}

}  // namespace onebit::grammar
