#include "hub/pull.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "format/h1b_file.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/convert.h"
#include "halo/models.h"
#include "halo/progress.h"
#include "hub/space.h"

namespace onebit::halo {
namespace {

namespace fs = std::filesystem;
using Kind = hub::Choice::Kind;

struct PullArguments {
  std::string repo;
  std::string as;      // the model's name; the repository's where empty
  std::string folder;  // of models
  hub::PullOptions pull;
  ConvertArguments convert;
  bool replace = false;
  bool keep = false;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : std::string(trim_white_space(value));
}

/// For provenance: "https://huggingface.co/OWNER/NAME, commit 0123…, model.gguf".
std::string source_of(const PullArguments& a, const hub::Pulled& pulled) {
  auto endpoint = a.pull.host.endpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  auto source = fmt::format("{}/{}, ", endpoint, a.pull.repo.text());
  source += pulled.commit.empty() ? "revision " + a.pull.revision : "commit " + pulled.commit;
  if (pulled.kind != Kind::kSafetensors)
    source += ", " + fs::path(pulled.path).lexically_relative(a.pull.folder).string();
  return source;
}

/// What SIGINT says while files are converted, which nothing else ends.
std::string g_interrupt_message;

extern "C" void on_interrupted_conversion(int signal) {
  static_cast<void>(!::write(STDERR_FILENO, g_interrupt_message.data(), g_interrupt_message.size()));
  std::signal(signal, SIG_DFL);
  ::raise(signal);  // comes once this handler has returned
}

/// Where the model will be; an error where one is there already.
Result<std::string> target_of(const PullArguments& a) {
  auto name = a.as.empty() ? a.pull.repo.name : a.as;
  while (name.ends_with(".h1b")) name.erase(name.rfind('.'));  // else a path for all that take names
  if (!hub::parse_repo_name("x/" + name))
    return fail("--as: '{}' is no name for a model: letters, digits, '.', '_' and '-'", printable(name, 80));
  auto target = fmt::format("{}/{}.h1b", a.folder, name);
  std::error_code ignored;
  if (!a.replace && fs::symlink_status(target, ignored).type() != fs::file_type::not_found)
    return fail("{}: is there already: --replace fetches it anew, --as NAME takes another name", target);
  return target;
}

/// Checked, and given its name.
Status place_h1b(const std::string& fetched, const std::string& target, bool as_json) {
  uint64_t bytes = 0;
  {
    ProgressBar bar;
    ASSIGN_OR_RETURN(const auto file, H1bFile::open(fetched));
    RETURN_IF_ERROR(file.verify([&](uint64_t done, uint64_t total) { bar.update(done, total, "verifying"); }));
    bytes = file.file_bytes();
  }
  std::error_code error;
  fs::rename(fetched, target, error);
  if (error) return fail("{}: cannot be put there: {}", target, error.message());
  if (as_json) {
    fmt::print("{}\n", nlohmann::json{{"file", target}, {"bytes", bytes}}.dump());
  } else {
    fmt::print("{}: {}\n", target, hub::size_text(bytes));
  }
  return {};
}

Status finish(PullArguments& a, const hub::Pulled& pulled, const std::string& target) {
  if (pulled.kind == Kind::kH1b) return place_h1b(pulled.path, target, a.convert.json);
  a.convert.options.folder = pulled.path;
  a.convert.options.output = target;
  a.convert.options.name = a.pull.repo.text();
  a.convert.options.source = source_of(a, pulled);
  return convert(a.convert);
}

Result<hub::Pulled> fetch(const PullArguments& a) {
  catch_interrupt();
  TransferBar bar;
  auto pulled = hub::pull(a.pull, [&](const hub::PullState& state) {
    bar.update(state.done, state.total, state.phase, printable(state.file, 60));
  });
  std::error_code ignored;
  if (!pulled) fs::remove(fs::path(a.pull.folder).parent_path(), ignored);  // where nothing is in it
  const auto message =
      fs::exists(a.pull.folder, ignored)
          ? fmt::format("interrupted: what was fetched is kept in {}, and the same command goes on there",
                        a.pull.folder)
          : "interrupted: nothing had been fetched";
  g_interrupt_message = fmt::format("\nhalo: {}\n", message);
  std::signal(SIGINT, on_interrupted_conversion);  // a conversion may be ended at any time
  if (interrupted()) return fail("{}", message);
  return pulled;
}

Status pull(PullArguments& a) {
  ASSIGN_OR_RETURN(a.pull.repo, hub::parse_repo_name(a.repo));
  if (a.folder.empty()) {
    const auto folders = own_model_folders();
    if (folders.empty()) return fail("there is no folder for models: name one with --folder, $HALO_MODELS or $HOME");
    a.folder = folders.front();
  }
  a.pull.folder = download_folder(a.folder, a.pull.repo);
  if (a.pull.host.endpoint.empty()) a.pull.host.endpoint = environment("HF_ENDPOINT");
  if (a.pull.host.endpoint.empty()) a.pull.host.endpoint = hub::HostOptions().endpoint;
  a.pull.host.token = environment("HF_TOKEN");
  a.pull.host.certificates = environment("SSL_CERT_FILE");
  a.pull.host.stop = [] { return interrupted(); };
  ASSIGN_OR_RETURN(const auto target, target_of(a));
  RETURN_IF_ERROR(resolve(a.convert));
  ASSIGN_OR_RETURN(const auto pulled, fetch(a));
  fmt::print(stderr, "{} at {}: {}{}\n", a.repo, pulled.commit.empty() ? a.pull.revision : pulled.commit.substr(0, 12),
             hub::size_text(pulled.bytes),
             pulled.kept == 0 ? "" : fmt::format(", of which {} were here", hub::size_text(pulled.kept)));
  if (!pulled.unverified.empty())
    fmt::print(stderr, "halo: the host tells no hash of {} files ({}, …): only their sizes were checked\n",
               pulled.unverified.size(), printable(pulled.unverified.front()));
  if (auto status = finish(a, pulled, target); !status)
    return fail("{}; what was fetched is kept in {}", status.error().message, a.pull.folder);
  std::signal(SIGINT, SIG_DFL);
  std::error_code ignored;
  if (a.keep && pulled.kind != Kind::kH1b) {  // an .h1b file was moved: the folder has nothing to keep
    RETURN_IF_ERROR(mark_kept(a.pull.folder));
  } else {
    fs::remove_all(a.pull.folder, ignored);
    fs::remove(fs::path(a.pull.folder).parent_path(), ignored);  // where it was the last one
  }
  return {};
}

}  // namespace

void add_pull(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<PullArguments>();
  auto& pull_options = a->pull;
  auto* command = app.add_subcommand("pull", "Fetch a model from Hugging Face, or a host like it, and convert it");
  command->add_option("repository", a->repo, "OWNER/NAME")->required()->type_name("OWNER/NAME");
  command
      ->add_option("--file", pull_options.file,
                   "A .gguf or .h1b file of the repository, instead of its safetensors; needed where there are several")
      ->type_name("PATH");
  command->add_option("--revision", pull_options.revision, "A branch, tag or commit")->capture_default_str();
  command->add_option("--as", a->as, "The model's name here; the repository's where absent")->type_name("NAME");
  command
      ->add_option("--folder", a->folder,
                   "Where models are kept; where absent, the first of $HALO_MODELS, or ~/.local/share/1bit/models")
      ->type_name("FOLDER");
  command
      ->add_option("--endpoint", pull_options.host.endpoint,
                   "The host; where absent, $HF_ENDPOINT or https://huggingface.co")
      ->type_name("URL");
  pull_options.host.endpoint.clear();
  command->add_option("--connections", pull_options.host.connections, "Parts of a file that are fetched at once")
      ->check(CLI::Range(1U, 32U))
      ->capture_default_str();
  command->add_flag("--replace", a->replace, "Where there is a model of this name already");
  command->add_flag("--keep", a->keep,
                    "Keep the fetched files after the conversion, until the next pull of this repository");
  a->convert.add_to(*command);
  command->add_flag("--json", a->convert.json, "Print one JSON object, as 'halo convert' does");
  command->footer(
      "Example:\n"
      "  halo pull microsoft/bitnet-b1.58-2B-4T --as bitnet-2b-4t && halo chat -m bitnet-2b-4t\n\n"
      "A pull that ended early goes on where it was when the same command is given again; 'halo rm OWNER/NAME' throws\n"
      "away what it has. $HF_TOKEN is sent to the host, and to no other that it redirects to. $SSL_CERT_FILE names\n"
      "authorities to trust instead of the system's.");
  command->callback([a, &exit_code] {
    if (auto status = pull(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
