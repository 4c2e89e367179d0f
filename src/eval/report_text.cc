// The report as Markdown and as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/report.h"

namespace onebit {
namespace {

/// A record's text as it may stand in a table's cell: no markup, no line's end.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      out += ' ';
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '[' || c == ']') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string line_of(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const auto& cell : cells) out += " " + escaped(cell) + " |";
  return out + "\n";
}

std::string rule(size_t columns) {
  std::string out = "|";
  for (size_t i = 0; i < columns; ++i) out += "---|";
  return out + "\n";
}

std::string stale_mark(const ReportSource& source) {
  return source.stale.empty() ? "" : fmt::format("**stale** ({})", escaped(source.stale));
}

std::string base_sentence(const ReportBase& base) {
  if (base.commit.empty()) return "";
  return fmt::format(
      "Records are compared with commit {}{} on {}{}; one of another commit or machine is marked **stale**.\n",
      base.commit.substr(0, 12),
      base.date.empty() ? "" : fmt::format(" (the newest record, {})", base.date.substr(0, 10)),
      escaped(base.cpu.value_or("a processor that was not recorded")),
      base.cores ? fmt::format(", {} cores", *base.cores) : "");
}

std::string headline(const std::vector<ReportRow>& rows) {
  std::string out = "| metric | value | source | what it means |\n" + rule(4);
  for (const auto& row : rows) {
    std::string source = "none";
    if (row.source) {
      const auto stale = stale_mark(*row.source);
      source =
          fmt::format("[{}]({}){}", escaped(row.source->file), row.source->link, stale.empty() ? "" : ", " + stale);
    }
    out +=
        fmt::format("| {} | {} | {} | {} |\n", escaped(row.metric), escaped(row.value), source, escaped(row.meaning));
  }
  return out;
}

std::string section_text(const ReportSection& s) {
  auto out = fmt::format("\n## {}\n\n`{}`\n\n", escaped(s.title), s.command);
  if (!s.source) return out + fmt::format("missing: run {}\n", s.command);
  out += line_of(s.columns) + rule(s.columns.size());
  for (const auto& row : s.rows) out += line_of(row);
  const auto stale = stale_mark(*s.source);
  out += fmt::format("\nFrom [{}]({}): {}.{}\n", escaped(s.source->file), s.source->link,
                     escaped(s.source->description), stale.empty() ? "" : " " + stale);
  if (!s.note.empty()) out += "\n" + escaped(s.note) + "\n";
  return out;
}

nlohmann::ordered_json metric_json(const Metric& m) {
  nlohmann::ordered_json out{{"metric", m.name}, {"value", m.value}, {"unit", m.unit}, {"spread", nullptr}};
  if (m.spread) out["spread"] = {{"low", m.spread->low}, {"high", m.spread->high}, {"rounds", m.spread->rounds}};
  return out;
}

nlohmann::ordered_json source_json(const std::optional<ReportSource>& source) {
  if (!source) return nullptr;
  return {
      {"file", source->file}, {"link", source->link}, {"description", source->description}, {"stale", source->stale}};
}

}  // namespace

std::string report_markdown(const Report& report) {
  std::string out =
      "# Measurements\n\n"
      "Written by `halo report -o docs/benchmarks.md` from the records in benchmarks/records "
      "([records.md](records.md))\n"
      "and tests/records: no figure comes from anywhere else, and each section names the script that makes its record\n"
      "again. Shapes are those of bitnet-b1.58-2B-4T with random weights (speed does not depend on them) unless said\n"
      "otherwise. A shared machine's bandwidth changes from minute to minute, so it is measured beside each run, "
      "engines\n"
      "alternate, and figures are medians (attention: the best of the rounds); lowest and highest stand beside "
      "them.\n\n";
  out += base_sentence(report.base);
  if (!report.base.commit.empty()) out += "\n";
  out += headline(report.rows);
  for (const auto& section : report.sections) out += section_text(section);
  return out;
}

std::string report_json(const Report& report) {
  nlohmann::ordered_json root;
  root["schema"] = 1;
  root["compared_with"] = {
      {"commit", report.base.commit}, {"date", report.base.date}, {"cpu", nullptr}, {"cores", nullptr}};
  if (report.base.cpu) root["compared_with"]["cpu"] = *report.base.cpu;
  if (report.base.cores) root["compared_with"]["cores"] = *report.base.cores;
  root["rows"] = nlohmann::ordered_json::array();
  for (const auto& row : report.rows) {
    auto figures = nlohmann::ordered_json::array();
    for (const auto& m : row.figures) figures.push_back(metric_json(m));
    root["rows"].push_back({{"metric", row.metric},
                            {"value", row.value},
                            {"missing", !row.source.has_value()},
                            {"figures", std::move(figures)},
                            {"source", source_json(row.source)},
                            {"meaning", row.meaning}});
  }
  root["sections"] = nlohmann::ordered_json::array();
  for (const auto& s : report.sections)
    root["sections"].push_back({{"title", s.title},
                                {"command", s.command},
                                {"record", s.record},
                                {"columns", s.columns},
                                {"rows", s.rows},
                                {"note", s.note},
                                {"source", source_json(s.source)}});
  // Other than UTF-8 cannot come out of a record; a path's bytes can be anything.
  return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace onebit
