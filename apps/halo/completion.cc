// Shell completions, made from the parser's own options, so that they cannot fall behind.
#include <algorithm>

#include "halo/commands.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

std::vector<const CLI::App*> subcommands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

/// "-m" and "--model" of every option of a command; positional arguments have none.
std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_snames()) flags.push_back("-" + name);
    for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
  }
  std::sort(flags.begin(), flags.end());
  return flags;
}

/// A text inside single quotes of a shell.
std::string quoted(std::string text) {
  for (size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 4) text.replace(at, 1, "'\\''");
  return "'" + text + "'";
}

std::string bash(const CLI::App& app) {
  std::vector<std::string> names;
  std::string cases;
  for (const auto* command : subcommands_of(app)) {
    names.push_back(command->get_name());
    cases += fmt::format("    {}) words={} ;;\n", command->get_name(),
                         quoted(fmt::format("{}", fmt::join(flags_of(*command), " "))));
  }
  return fmt::format(
      "# bash completion for halo: source <(halo completion bash)\n"
      "_halo() {{\n"
      "  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W {} -- \"$current\"))\n"
      "    return\n"
      "  fi\n"
      "  case $previous in\n"
      "    -m|--model) COMPREPLY=($(compgen -W \"$(halo list --names 2>/dev/null)\" -- \"$current\") $(compgen -f -- "
      "\"$current\")); return ;;\n"
      "  esac\n"
      "  case ${{COMP_WORDS[1]}} in\n{}"
      "  esac\n"
      "  if [ \"${{current:0:1}}\" = - ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); else "
      "COMPREPLY=($(compgen -f -- \"$current\")); fi\n"
      "}}\n"
      "complete -o filenames -F _halo halo\n",
      quoted(fmt::format("{}", fmt::join(names, " "))), cases);
}

/// Without what zsh's _arguments would read as syntax.
std::string zsh_text(std::string text) {
  for (auto& c : text)
    if (c == '[' || c == ']' || c == ':') c = ' ';
  return text;
}

std::string zsh(const CLI::App& app) {
  std::string commands, cases;
  for (const auto* command : subcommands_of(app)) {
    commands += fmt::format("    {}\n", quoted(command->get_name() + ":" + zsh_text(command->get_description())));
    std::string arguments;
    for (const auto* option : command->get_options()) {
      const auto add = [&](const std::string& flag) {
        const bool takes_value = option->get_expected_min() > 0;
        arguments += " " + quoted(fmt::format("{}[{}]{}", flag, zsh_text(option->get_description()),
                                              takes_value ? ":value:_files" : ""));
      };
      for (const auto& name : option->get_snames()) add("-" + name);
      for (const auto& name : option->get_lnames()) add("--" + name);
    }
    cases += fmt::format("    {}) _arguments{} '*:file:_files' ;;\n", command->get_name(), arguments);
  }
  return fmt::format(
      "#compdef halo\n"
      "# zsh completion for halo: halo completion zsh > a folder of $fpath/_halo\n"
      "_halo() {{\n"
      "  local -a commands\n"
      "  commands=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n{}"
      "  esac\n"
      "}}\n"
      "compdef _halo halo\n",
      commands, cases);
}

std::string fish(const CLI::App& app) {
  std::string out = "# fish completion for halo: halo completion fish > ~/.config/fish/completions/halo.fish\n";
  for (const auto* command : subcommands_of(app)) {
    out += fmt::format("complete -c halo -n __fish_use_subcommand -f -a {} -d {}\n", command->get_name(),
                       quoted(command->get_description()));
    for (const auto* option : command->get_options()) {
      std::string names;
      for (const auto& name : option->get_snames()) names += " -s " + name;
      for (const auto& name : option->get_lnames()) names += " -l " + name;
      if (names.empty()) continue;
      out += fmt::format("complete -c halo -n '__fish_seen_subcommand_from {}'{}{} -d {}\n", command->get_name(), names,
                         option->get_expected_min() > 0 ? " -r" : "", quoted(option->get_description()));
    }
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  auto* command = app.add_subcommand("completion", "A completion script for bash, zsh or fish");
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("bash: source <(halo completion bash)");
  command->callback([shell, &app] {
    fmt::print("{}", *shell == "bash" ? bash(app) : *shell == "zsh" ? zsh(app) : fish(app));
  });
}

}  // namespace onebit::halo
