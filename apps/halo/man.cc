// Manual pages in roff, made from the same descriptions as --help.
#include <cerrno>
#include <cstring>
#include <fstream>

#include "halo/commands.h"
#include "halo/common.h"
#include "version.h"

namespace onebit::halo {
namespace {

/// Plain text as roff: backslashes and hyphens escaped, no line taken for a request.
std::string roff(std::string_view text) {
  std::string out;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_begins = c == '\n';
  }
  return out;
}

/// "-n, --max-tokens UINT", or the name of a positional argument.
std::string signature(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const auto& name : option.get_snames()) names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) names.push_back("--" + name);
  auto text = names.empty() ? option.get_name() : fmt::format("{}", fmt::join(names, ", "));
  if (!names.empty() && option.get_expected_min() > 0) text += " " + option.get_type_name();
  return text;
}

std::string options_section(const CLI::App& command) {
  std::string out;
  for (const auto* option : command.get_options()) {
    out += fmt::format(".TP\n.B {}\n{}", roff(signature(*option)), roff(option->get_description()));
    if (!option->get_default_str().empty()) out += fmt::format(" (default: {})", roff(option->get_default_str()));
    out += "\n";
  }
  return out;
}

std::string page(const CLI::App& app, const CLI::App& command) {
  const bool whole = &app == &command;
  const auto name = whole ? std::string("halo") : "halo-" + command.get_name();
  auto out = fmt::format(".TH {} 1 \"\" \"1bit {}\"\n.SH NAME\n{} \\- {}\n", name, kVersion, roff(name),
                         roff(command.get_description()));
  out += fmt::format(".SH SYNOPSIS\n.B halo {}\n[options]{}\n", whole ? "COMMAND" : command.get_name(),
                     whole ? " ..." : " [arguments]");
  if (whole) {
    out += ".SH COMMANDS\n";
    for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; }))
      out += fmt::format(".TP\n.B {}\n{}\n", roff(sub->get_name()), roff(sub->get_description()));
  }
  out += ".SH OPTIONS\n" + options_section(command);
  if (const auto footer = command.get_footer(); !footer.empty()) out += ".SH NOTES\n.nf\n" + roff(footer) + "\n.fi\n";
  return out;
}

std::vector<const CLI::App*> pages_of(const CLI::App& app) {
  auto apps = app.get_subcommands([](const CLI::App*) { return true; });
  apps.insert(apps.begin(), &app);
  return apps;
}

/// halo.1, halo-chat.1, … as `make install` wants them.
Status write_all(const CLI::App& app, const std::string& folder) {
  for (const auto* command : pages_of(app)) {
    const auto path = fmt::format("{}/halo{}.1", folder, command == &app ? "" : "-" + command->get_name());
    std::ofstream file(path);
    file << page(app, *command) << std::flush;
    if (!file) return fail("{}: cannot write: {}", path, std::strerror(errno));
  }
  return {};
}

}  // namespace

void add_man(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string name, folder;
  };
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("man", "A manual page in roff: halo man chat | man -l -");
  auto* name = command->add_option("command", a->name, "Of this command; of halo itself where absent");
  name->type_name("COMMAND");
  command->add_option("--write-all", a->folder, "Write all pages into this folder instead: halo.1, halo-chat.1, …")
      ->type_name("FOLDER")
      ->excludes(name);
  command->callback([a, &app, &exit_code] {
    if (!a->folder.empty()) {
      if (auto status = write_all(app, a->folder); !status) exit_code = report(status.error());
      return;
    }
    for (const auto* wanted : pages_of(app))
      if (a->name == (wanted == &app ? "" : wanted->get_name())) return fmt::print("{}", page(app, *wanted));
    exit_code = report({fmt::format("there is no command '{}'", a->name)});
  });
}

}  // namespace onebit::halo
