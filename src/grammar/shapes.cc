#include "grammar/shapes.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <span>

namespace onebit::grammar {
namespace {

/// Sets of states that were united.
class Union {
 public:
  explicit Union(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0u); }
  uint32_t find(uint32_t s) {
    while (parent_[s] != s) s = parent_[s] = parent_[parent_[s]];
    return s;
  }
  bool unite(uint32_t a, uint32_t b) {
    a = find(a), b = find(b);
    if (a == b) return false;
    parent_[std::max(a, b)] = std::min(a, b);
    return true;
  }

 private:
  std::vector<uint32_t> parent_;
};

/// Which classes of bytes a state tells apart: of each the first that leads to the same; -1 where it is not taken.
std::vector<int16_t> pattern(std::span<const StateId> row) {
  std::vector<int16_t> out(row.size(), -1);
  for (size_t c = 0; c < row.size(); ++c)
    if (row[c] != Program::kDead)
      out[c] = static_cast<int16_t>(std::find(row.begin(), row.end(), row[c]) - row.begin());
  return out;
}

/// The vocabulary's trie as it is united: shapes as they are found.
struct Tree {
  struct Shape {
    uint32_t kind, children;  // the second in `child`, by block
    uint8_t byte;
  };
  std::vector<Shape> shapes;
  std::vector<uint32_t> child;

  uint32_t add(uint32_t kind, size_t blocks, uint8_t byte) {
    shapes.push_back({kind, static_cast<uint32_t>(child.size()), byte});
    child.resize(child.size() + blocks, Shapes::kNone);
    return static_cast<uint32_t>(shapes.size() - 1);
  }
};

/// The shapes in preorder; returns the place of each.
std::vector<uint32_t> lay_out(const Tree& tree, Shapes& out) {
  std::vector<uint32_t> place(tree.shapes.size());
  struct Visit {
    uint32_t shape, place, next;  // the last in `child`
  };
  std::vector<Visit> path{{0, 0, 0}};
  out.nodes.push_back({0, 0, 0, 0});
  while (!path.empty()) {
    auto& [shape, placed, next] = path.back();
    const bool last = shape + 1 == tree.shapes.size();
    const size_t end = last ? tree.child.size() : tree.shapes[shape + 1].children;
    while (next < end && tree.child[next] == Shapes::kNone) ++next;
    if (next == end) {
      out.nodes[placed].end = static_cast<uint32_t>(out.nodes.size());
      path.pop_back();
      continue;
    }
    const uint32_t below = tree.child[next++];
    place[below] = static_cast<uint32_t>(out.nodes.size());
    out.nodes.push_back({0, 0, static_cast<uint16_t>(path.size()), tree.shapes[below].byte});
    path.push_back({below, place[below], tree.shapes[below].children});
  }
  out.nodes.push_back({static_cast<uint32_t>(out.nodes.size()), 0, 0, 0});
  return place;
}

/// The vocabulary's nodes and tokens of each shape, by `shape_of`.
void distribute(const Vocabulary& vocabulary, Shapes& out) {
  const auto& all = vocabulary.nodes();
  out.origins_of.assign(out.nodes.size(), 0);
  for (size_t n = 0; n < out.shape_of.size(); ++n)
    if (const uint32_t shape = out.shape_of[n]; shape != Shapes::kNone) {
      ++out.origins_of[shape + 1];
      out.nodes[shape + 1].first += all[n + 1].first - all[n].first;
    }
  for (size_t s = 1; s < out.nodes.size(); ++s) {
    out.origins_of[s] += out.origins_of[s - 1];
    out.nodes[s].first += out.nodes[s - 1].first;
  }
  out.origins.resize(out.origins_of.back());
  out.tokens.resize(out.nodes.back().first);
  auto origin = out.origins_of;
  std::vector<uint32_t> token;
  for (const auto& node : out.nodes) token.push_back(node.first);
  for (uint32_t n = 0; n < out.shape_of.size(); ++n)
    if (const uint32_t shape = out.shape_of[n]; shape != Shapes::kNone) {
      out.origins[origin[shape]++] = n;
      for (uint32_t t = all[n].first; t < all[n + 1].first; ++t) out.tokens[token[shape]++] = vocabulary.tokens()[t];
    }
}

}  // namespace

Kinds::Kinds(const Program& program, RuleId rule) {
  const auto& class_of = program.classes[rule];
  classes_ = size_t{*std::max_element(class_of.begin(), class_of.end())} + 1;
  first_ = program.first[rule];
  for (StateId s = first_; s < program.first[rule + 1]; ++s)
    rows_.emplace_back(&program.next[program.states[s].row], classes_);
  if (rows_.size() * classes_ > kLargest || !unite())
    kind_.assign(rows_.size(), kNone);
  else
    divide(class_of);
}

/// States with the same pattern are of one kind, and then whatever they lead to by the same class, until all are. False
/// where that takes too long.
bool Kinds::unite() {
  Union sets(rows_.size());
  std::map<std::vector<int16_t>, uint32_t> with_pattern;
  for (uint32_t s = 0; s < rows_.size(); ++s)
    sets.unite(s, with_pattern.try_emplace(pattern(rows_[s]), s).first->second);
  std::vector<uint32_t> to(rows_.size() * classes_);
  int passes = 0;
  for (bool changed = true; changed;) {
    if (++passes > kMostPasses) return false;
    changed = false;
    std::fill(to.begin(), to.end(), kNone);
    for (uint32_t s = 0; s < rows_.size(); ++s)
      for (size_t c = 0; c < classes_; ++c) {
        if (rows_[s][c] == Program::kDead) continue;
        auto& known = to[sets.find(s) * classes_ + c];
        if (known == kNone)
          known = rows_[s][c] - first_;
        else if (sets.unite(known, rows_[s][c] - first_))
          changed = true;
      }
  }
  std::vector<uint32_t> number(rows_.size(), kNone);
  for (uint32_t s = 0; s < rows_.size(); ++s) {
    auto& kind = number[sets.find(s)];
    if (kind == kNone) kind = count_++;
    kind_.push_back(kind);
  }
  return true;
}

/// Blocks fine enough for each state of a kind.
void Kinds::divide(const std::array<uint8_t, 256>& class_of) {
  std::vector<std::vector<uint8_t>> block(count_, std::vector<uint8_t>(classes_, 0));  // of each class
  for (uint32_t s = 0; s < rows_.size(); ++s) {
    std::map<std::pair<uint8_t, int16_t>, uint8_t> finer;
    const auto told = pattern(rows_[s]);
    for (size_t c = 0; c < classes_; ++c) {
      auto& b = block[kind_[s]][c];
      b = finer.try_emplace({b, told[c]}, static_cast<uint8_t>(finer.size())).first->second;
    }
  }
  blocks_.resize(count_);
  for (uint32_t k = 0; k < count_; ++k) {
    blocks_[k].to.assign(size_t{*std::max_element(block[k].begin(), block[k].end())} + 1, kNone);
    for (size_t b = 0; b < 256; ++b) blocks_[k].block[b] = block[k][class_of[b]];
  }
  for (uint32_t s = 0; s < rows_.size(); ++s)
    for (size_t c = 0; c < classes_; ++c)
      if (rows_[s][c] != Program::kDead) blocks_[kind_[s]].to[block[kind_[s]][c]] = kind_[rows_[s][c] - first_];
}

Shapes Kinds::shapes(const Vocabulary& vocabulary, uint32_t kind) const {
  const auto& all = vocabulary.nodes();
  const auto count = static_cast<uint32_t>(all.size() - 1);
  Tree tree;
  Shapes out;
  out.shape_of.assign(count, Shapes::kNone);
  std::vector<uint32_t> path(vocabulary.deepest() + 1);  // by depth
  path[0] = out.shape_of[0] = tree.add(kind, blocks_[kind].to.size(), 0);
  for (uint32_t n = 1; n < count;) {
    const auto& node = all[n];
    const auto& parent = tree.shapes[path[node.depth - 1u]];
    const uint8_t block = blocks_[parent.kind].block[node.byte];
    const uint32_t to = blocks_[parent.kind].to[block];
    if (to == kNone) {
      n = node.end;
      continue;
    }
    const size_t at = parent.children + block;
    if (tree.child[at] == Shapes::kNone) {
      const uint32_t made = tree.add(to, blocks_[to].to.size(), node.byte);
      tree.child[at] = made;
    }
    path[node.depth] = out.shape_of[n] = tree.child[at];
    if (2 * tree.shapes.size() > count) return {};
    ++n;
  }
  const auto place = lay_out(tree, out);
  for (auto& shape : out.shape_of)
    if (shape != Shapes::kNone) shape = place[shape];
  distribute(vocabulary, out);
  return out;
}

}  // namespace onebit::grammar
