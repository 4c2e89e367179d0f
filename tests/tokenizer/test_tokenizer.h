// The tokenizer of the small real model, for tests against recorded ids.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/mapped_file.h"
#include "format/h1b_file.h"
#include "tokenizer/tokenizer.h"

namespace onebit::test {

inline std::string source_path(const std::string& name) {
  return std::string(ONEBIT_SOURCE_DIR) + "/" + name;
}

/// A file of this repository; fails the test where it cannot be read.
inline std::string read_source_file(const std::string& name) {
  auto text = read_text_file(source_path(name), size_t{64} << 20);
  EXPECT_TRUE(text.has_value()) << (text ? "" : text.error().message);
  return text.value_or("");
}

inline nlohmann::json read_source_json(const std::string& name) {
  auto root = nlohmann::json::parse(read_source_file(name), nullptr, false);
  EXPECT_FALSE(root.is_discarded()) << name << ": not valid JSON";
  return root;
}

/// The tokenizer of the bundled model.
class RealTokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto file = H1bFile::open(source_path("models/tiny-bitnet.h1b"));
    ASSERT_TRUE(file.has_value()) << file.error().message;
    const auto data = file->tokenizer();
    ASSERT_TRUE(data.has_value()) << data.error().message;
    data_ = *data;
    auto tokenizer = Tokenizer::create(data_);
    ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
    tokenizer_.emplace(*std::move(tokenizer));
  }

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const TokenizerData& data() const { return data_; }

 private:
  TokenizerData data_;
  std::optional<Tokenizer> tokenizer_;
};

}  // namespace onebit::test
