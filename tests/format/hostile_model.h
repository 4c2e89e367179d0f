// A small sound model file, and what has to hold of whatever is made of it.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

#include "format/h1b_file.h"
#include "format/synth.h"
#include "tests/support/expect_error.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "tests/support/use_model.h"

namespace onebit {

class HostileModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
#ifndef ONEBIT_SANITIZED
    const rlimit limit{size_t{256} << 20, RLIM_INFINITY};  // of memory, mapped files not counted
    ::setrlimit(RLIMIT_DATA, &limit);
#endif
  }

  void SetUp() override {
    path_ = folder_.path("model.h1b");
    write_model(test::tiny_config());
  }

  void write_model(const ModelConfig& config) {
    const auto written = write_synthetic_model(path_, test::tiny_parts(config), {}, 1);
    ASSERT_TRUE(written) << written.error().message;
    sound_ = test::read_file(path_);
  }

  /// Writes `bytes`, uses the file, and expects that whatever is refused is refused in one sentence.
  test::Use use(const std::string& bytes) {
    test::count_case(bytes);
    test::write_file(path_, bytes);
    auto use = test::use_model(path_);
    for (const auto& error : use.file_errors) test::expect_sentence(error, {path_});
    if (use.forward_error) test::expect_sentence(*use.forward_error);
    return use;
  }

  /// H1bFile::open alone.
  Result<H1bFile> open(std::string_view bytes) {
    test::count_case(bytes);
    test::write_file(path_, bytes);
    return H1bFile::open(path_);
  }

  /// The first error of open or verify.
  Status check(const std::string& bytes) {
    const auto result = use(bytes);
    if (result.verified) return {};
    return tl::unexpected(result.file_errors.at(0));
  }

  test::TempFolder folder_;
  std::string path_;
  std::string sound_;  // the bytes of a file that is not damaged
};

}  // namespace onebit
