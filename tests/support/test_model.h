// The models that tests run on.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace onebit::test {

/// models/tiny-bitnet.h1b of this repository.
inline std::string bundled_model() {
  return std::string(ONEBIT_SOURCE_DIR) + "/models/tiny-bitnet.h1b";
}

/// A file or folder of the repository.
inline std::string source_path(const std::string& relative) {
  return std::string(ONEBIT_SOURCE_DIR) + "/" + relative;
}

/// An extra model folder that developers may have beside the repository; empty where it is absent.
inline std::string extra_model(const std::string& name) {
  const auto path = source_path("../shared/models/" + name);
  return std::filesystem::exists(path) ? path : std::string();
}

}  // namespace onebit::test
