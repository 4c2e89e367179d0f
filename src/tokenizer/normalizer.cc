#include "tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/utf8.h"

namespace onebit {
namespace {

/// utf8proc_map() would do all of this, but sorts marks by insertion: a minute for a hostile megabyte of them.
class Composer {
 public:
  explicit Composer(std::string& out) : out_(out) {}

  void add(char32_t code_point) {
    constexpr auto kCanonical = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    std::array<utf8proc_int32_t, 8> parts;  // canonical decompositions have at most four
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
                                               kCanonical, nullptr);
    for (utf8proc_ssize_t i = 0; i < count; ++i) add_decomposed(parts[static_cast<size_t>(i)]);
  }

  /// Ends a text.
  void finish() {
    sort_marks();
    constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    const auto count =
        utf8proc_normalize_utf32(code_points_.data(), static_cast<utf8proc_ssize_t>(code_points_.size()), kCompose);
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      utf8_append(out_, static_cast<char32_t>(code_points_[static_cast<size_t>(i)]));
    code_points_.clear();
  }

 private:
  /// A combining mark, with what its place among others depends on.
  struct Mark {
    utf8proc_propval_t combining_class;
    size_t place;
    utf8proc_int32_t code_point;
  };

  void add_decomposed(utf8proc_int32_t code_point) {
    const auto combining_class = utf8proc_get_property(code_point)->combining_class;
    if (combining_class == 0) {
      sort_marks();
      code_points_.push_back(code_point);
    } else {
      marks_.push_back({combining_class, marks_.size(), code_point});
    }
  }

  /// The canonical order of the marks since the last starter.
  void sort_marks() {
    if (marks_.size() > 1)
      std::sort(marks_.begin(), marks_.end(), [](const Mark& a, const Mark& b) {
        return a.combining_class != b.combining_class ? a.combining_class < b.combining_class : a.place < b.place;
      });
    for (const Mark& mark : marks_) code_points_.push_back(mark.code_point);
    marks_.clear();
  }

  std::string& out_;
  std::vector<utf8proc_int32_t> code_points_;
  std::vector<Mark> marks_;
};

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  // UTF-8 writes U+0300 and all after it with a lead byte of 0xcc and more. What is below neither decomposes into
  // another NFC nor composes with its like.
  if (std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xcc; })) return text;
  buffer.clear();
  buffer.reserve(text.size());
  Composer composer(buffer);
  while (!text.empty()) {
    const auto character = utf8_front(text);
    if (character.length == 0) {
      composer.finish();
      buffer += text[0];
      text.remove_prefix(1);
    } else {
      composer.add(character.code_point);
      text.remove_prefix(character.length);
    }
  }
  composer.finish();
  return buffer;
}

}  // namespace onebit
