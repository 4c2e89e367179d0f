// How many hostile inputs the tests give to each parser; scripts/hostile_cases.sh makes docs/security.md's table of it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "tests/support/temp_folder.h"

namespace onebit::test {

/// The inputs of the running test, by format and class. They are told apart by their hashes, so that an input that
/// comes a second time is no second case.
class HostileCases {
 public:
  static HostileCases& instance() {
    static HostileCases cases;
    return cases;
  }

  void begin(std::string_view format, std::string_view kind) {
    const auto* running = ::testing::UnitTest::GetInstance()->current_test_info();
    if (running != test_) seen_.clear();
    test_ = running;
    // Neither part has a '-', at which the script takes them apart.
    current_ = &*seen_.try_emplace("hostile-" + std::string(format) + "-" + std::string(kind)).first;
  }

  void count(std::string_view input) {
    if (test_ == nullptr || test_ != ::testing::UnitTest::GetInstance()->current_test_info()) return;
    auto& [key, inputs] = *current_;
    if (inputs.insert(xxh3(std::as_bytes(std::span(input)))).second)
      ::testing::Test::RecordProperty(key, std::to_string(inputs.size()));
  }

 private:
  using Inputs = std::map<std::string, std::set<uint64_t>>;
  const ::testing::TestInfo* test_ = nullptr;
  Inputs seen_;
  Inputs::value_type* current_ = nullptr;
};

/// What follows in the running test is a hostile input of this format and class; both are names that
/// scripts/hostile_cases.sh knows. A test that never says this counts nothing, whatever helpers it uses.
inline void hostile(std::string_view format, std::string_view kind) {
  HostileCases::instance().begin(format, kind);
}

/// One input given to the parser: its bytes, or, where they are many, words that stand for it alone.
inline void count_case(std::string_view input) {
  HostileCases::instance().count(input);
}

/// The same of a folder, which is what it holds.
inline void count_folder(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    files[entry.path().filename()] = entry.is_regular_file() ? read_file(entry.path()) : "not a file";
  std::string input;
  for (const auto& [name, bytes] : files) input += name + '\0' + std::to_string(bytes.size()) + '\0' + bytes;
  count_case(input);
}

}  // namespace onebit::test
