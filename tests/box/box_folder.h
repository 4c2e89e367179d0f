// A folder that stands for a box's / and $PATH.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "box/roots.h"
#include "tests/support/temp_folder.h"

namespace onebit::test {

class BoxFolder {
 public:
  /// `path`: what $PATH has besides the folder's bin.
  explicit BoxFolder(const std::string& path = "/usr/bin:/bin") : old_path_(std::getenv("PATH")) {
    std::filesystem::create_directories(folder_.path("bin"));
    ::setenv("PATH", (folder_.path("bin") + (path.empty() ? "" : ":" + path)).c_str(), 1);
  }
  BoxFolder(const BoxFolder&) = delete;
  BoxFolder& operator=(const BoxFolder&) = delete;
  ~BoxFolder() { ::setenv("PATH", old_path_.c_str(), 1); }

  std::string path(const std::string& name) const { return folder_.path(name); }
  box::Roots roots() const { return {folder_.path()}; }
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path(name);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  /// A shell script in bin.
  void program(const std::string& name, const std::string& script) const {
    write("bin/" + name, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(path("bin/" + name), std::filesystem::perms::all);
  }

 private:
  TempFolder folder_;
  std::string old_path_;
};

}  // namespace onebit::test
