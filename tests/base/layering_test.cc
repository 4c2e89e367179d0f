// Includes point one way only (docs/architecture.md). Reads the sources themselves.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Layers = std::map<std::string, std::set<std::string>>;

/// Folder -> folders it may include besides itself.
const Layers kAllowed{
    {"base", {}},
    {"format", {"base"}},
    {"hub", {"base", "format"}},
    {"tokenizer", {"base", "format"}},
    {"grammar", {"base", "format", "tokenizer"}},
    {"kernels", {"base", "format"}},
    {"backend", {"base", "format", "kernels"}},
    {"engine", {"base", "format", "tokenizer", "grammar", "kernels", "backend"}},
    {"eval", {"base", "format", "tokenizer", "grammar", "kernels", "backend", "engine"}},
    {"burnin", {"base", "eval"}},
    {"voice", {"base", "format", "tokenizer", "grammar", "kernels", "backend", "engine"}},
    {"server", {"base", "format", "tokenizer", "grammar", "kernels", "backend", "engine", "voice"}},
    {"landing", {"base", "server"}},
};

/// "src/format/x.h" -> "format"; empty outside src.
std::string folder_of(const fs::path& relative) {
  auto part = relative.begin();
  return part == relative.end() ? std::string() : part->string();
}

/// Every quoted include in `text`.
std::vector<std::string> includes_of(const std::string& text) {
  static const std::regex pattern(R"re(^[ \t]*#[ \t]*include[ \t]*"([^"]+)")re", std::regex::multiline);
  std::vector<std::string> result;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) result.push_back((*it)[1]);
  return result;
}

/// What is wrong with one file's includes, one line each.
std::vector<std::string> violations(const std::string& folder, const std::string& text) {
  std::vector<std::string> result;
  if (!kAllowed.contains(folder)) return {"the folder " + folder + " has no place in the order of layers"};
  for (const auto& include : includes_of(text)) {
    const auto target = folder_of(include);
    if (!kAllowed.contains(target)) {
      result.push_back(include + " is not named from src/");
    } else if (target != folder && !kAllowed.at(folder).contains(target)) {
      result.push_back(folder + " may not include " + include);
    }
  }
  return result;
}

TEST(Layering, SourcesIncludeOnlyDownwards) {
  const fs::path src = fs::path(ONEBIT_SOURCE_DIR) / "src";
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(src)) {
    const auto extension = entry.path().extension();
    if (extension != ".h" && extension != ".cc") continue;
    std::ifstream in(entry.path());
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    const auto relative = fs::relative(entry.path(), src);
    for (const auto& violation : violations(folder_of(relative), text))
      ADD_FAILURE() << relative.string() << ": " << violation;
    ++files;
  }
  EXPECT_GT(files, 30u) << "the sources were not found";
}

TEST(Layering, AnUpwardIncludeIsFound) {
  EXPECT_EQ(violations("format", "#include \"base/result.h\"\n").size(), 0u);
  EXPECT_EQ(violations("format", "#include \"kernels/matrix.h\"\n").size(), 1u);
  EXPECT_EQ(violations("tokenizer", "  #  include \"kernels/matrix.h\"\n").size(), 1u);
  EXPECT_EQ(violations("voice", "#include \"server/server.h\"\n").size(), 1u);
  EXPECT_EQ(violations("format", "#include \"packing.h\"\n").size(), 1u);
  EXPECT_EQ(violations("attic", "").size(), 1u);
}

}  // namespace
