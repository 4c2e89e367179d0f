// What every error message must be: one sentence that a user can be shown as it is.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/utf8.h"

namespace onebit::test {

inline constexpr size_t kLongestMessage = 400;

/// One line of readable text of bearable length.
inline void expect_sentence(const Error& error) {
  const auto& text = error.message;
  EXPECT_FALSE(text.empty());
  EXPECT_TRUE(utf8_valid(text)) << text;
  EXPECT_TRUE(std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  })) << text;
  EXPECT_LT(text.size(), kLongestMessage) << text;
}

/// A sentence that holds each of `parts`; the first is mostly the file.
inline void expect_sentence(const Error& error, std::initializer_list<std::string_view> parts) {
  expect_sentence(error);
  for (const auto part : parts)
    EXPECT_NE(error.message.find(part), std::string::npos) << "'" << part << "' is not in: " << error.message;
}

/// Fails the test where `result` is no error.
template <class T>
void expect_error(const Result<T>& result, std::initializer_list<std::string_view> parts) {
  if (result.has_value()) {
    ADD_FAILURE() << "no error; expected one with '" << (parts.size() == 0 ? "" : *(parts.end() - 1)) << "'";
    return;
  }
  expect_sentence(result.error(), parts);
}

}  // namespace onebit::test
