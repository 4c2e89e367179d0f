// Where the parse of a text may be: for each state the stacks of states to return to. Stacks that end alike share their
// tails, and those of one state are one set, so that no text has more alternatives than the grammar has states
// (a graph-structured stack, Tomita 1987, with its nodes found again by what they hold).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/program.h"

namespace onebit::grammar {

/// A set of frames, by number. What a set holds never changes.
using SetId = uint32_t;

/// A state, and the set of frames that its rule may return to.
struct Frame {
  StateId state;
  SetId parent;
  auto operator<=>(const Frame&) const = default;
};

/// One parse's sets; for one thread.
class Stacks {
 public:
  explicit Stacks(const Program& program);

  /// Frames that stand for no state: the text may end here; the stack of which only the top is known has ended.
  static constexpr StateId kEndState = UINT32_MAX - 1, kOpenState = UINT32_MAX - 2;
  static constexpr SetId kNothing = 0, kEnd = 1, kOpen = 2;  // {}, {kEndState}, {kOpenState}

  /// Before the text.
  SetId root();
  /// After one more byte; kNothing where it cannot follow.
  SetId step(SetId set, uint8_t byte);
  /// The same for one frame that need not be in a set.
  SetId step(Frame frame, uint8_t byte);
  /// Where a rule with this parent goes on after its end.
  SetId after(SetId parent);

  std::span<const Frame> frames(SetId set) const {
    return std::span(frames_).subspan(first_[set], first_[set + 1] - first_[set]);
  }
  bool has(SetId set, StateId state) const;

  /// What is made after a mark can be forgotten together.
  SetId mark() const { return static_cast<SetId>(first_.size() - 1); }
  void forget(SetId mark);
  /// Keeps what `set` needs; returns its new number.
  SetId compact(SetId set);

  /// A text that is parsed in too many ways, or one step that took too much work: nothing after it holds.
  bool overflowed() const { return overflowed_; }
  /// From now on so much may be done until overflowed().
  void allow_work(uint64_t steps) { work_left_ = steps; }
  void charge(uint64_t steps) {
    work_left_ = steps < work_left_ ? work_left_ - steps : 0;
    if (work_left_ == 0) overflowed_ = true;
  }
  uint64_t bytes() const { return frames_.capacity() * sizeof(Frame) + first_.capacity() * 4 + table_.capacity() * 4; }

 private:
  static constexpr size_t kMostFrames = 4096;

  void enter(Frame frame);
  void advance(Frame frame, uint8_t byte);
  bool add(Frame frame);
  SetId take();
  SetId intern(std::span<const Frame> frames);
  void insert_in_table(SetId set);
  void rehash(size_t size);
  uint64_t hash(std::span<const Frame> frames) const;

  const Program& program_;
  std::vector<Frame> frames_;
  std::vector<uint32_t> first_;  // of each set, in frames_; one more at the end
  std::vector<uint32_t> table_;  // sets by their hash, open addressing; 0: free
  size_t in_table_ = 0;

  std::vector<Frame> found_, work_;  // of the set that is being made
  std::vector<Frame> merged_;
  struct Step {
    uint64_t key = UINT64_MAX;
    SetId to = 0;
  };
  std::vector<Step> steps_;  // what was computed last, by set and byte
  bool overflowed_ = false;
  uint64_t work_left_ = UINT64_MAX;
};

}  // namespace onebit::grammar
