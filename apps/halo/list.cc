#include <filesystem>
#include <nlohmann/json.hpp>

#include "format/h1b_file.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "hub/space.h"

namespace onebit::halo {
namespace {

struct ListArguments {
  bool json = false;
  bool names = false;
};

void print_json(const std::vector<FoundModel>& models) {
  auto list = nlohmann::json::array();
  for (const auto& model : models) {
    nlohmann::json entry{{"name", model.name}, {"path", model.path}};
    if (const auto file = H1bFile::open(model.path)) {
      entry["bytes"] = file->file_bytes();
      entry["title"] = file->provenance("name");
      if (const auto licence = file->provenance("licence"); !licence.empty()) entry["licence"] = licence;
    } else {
      entry["error"] = file.error().message;
    }
    list.push_back(std::move(entry));
  }
  for (const auto& pull : find_pull_folders())
    list.push_back(
        {{"name", pull.name}, {"path", pull.path}, {"bytes", pull.bytes}, {pull.kept ? "kept" : "unfinished", true}});
  fmt::print("{}\n", list.dump(2));
}

void print_table(const std::vector<FoundModel>& models) {
  for (const auto& model : models) {
    const auto file = H1bFile::open(model.path);
    const auto size = file ? hub::size_text(file->file_bytes()) : "unreadable";
    fmt::print("{:<24} {:>12}  {}\n", model.name, size, model.path);
  }
  for (const auto& pull : find_pull_folders()) {
    const auto state = pull.kept
                           ? fmt::format("kept: what a model was made of, 'halo rm {}' removes it", pull.name)
                           : fmt::format("unfinished: 'halo pull {0}' goes on, 'halo rm {0}' removes it", pull.name);
    fmt::print("{:<24} {:>12}  {} ({})\n", pull.name, hub::size_text(pull.bytes), pull.path, state);
  }
  fmt::print(stderr, "sought in: {}\n", fmt::join(model_folders(), ", "));
}

}  // namespace

void add_list(CLI::App& app) {
  auto a = std::make_shared<ListArguments>();
  auto* command = app.add_subcommand("list", "The models that can be named, and what pulls have left");
  command->add_flag("--json", a->json, "One JSON array; what pulls have left is marked as unfinished or kept");
  command->add_flag("--names", a->names, "Names of models only, one a line");
  command->footer(
      "Models are sought in $HALO_MODELS (folders separated by colons), $XDG_DATA_HOME/1bit/models,\n"
      "1bit/models in each of $XDG_DATA_DIRS, and beside the program.");
  command->callback([a] {
    const auto models = find_models();
    if (a->names) {
      for (const auto& model : models) fmt::print("{}\n", model.name);
    } else if (a->json) {
      print_json(models);
    } else {
      print_table(models);
    }
  });
}

}  // namespace onebit::halo
