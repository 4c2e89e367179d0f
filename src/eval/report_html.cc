#include <fmt/format.h>

#include "eval/report.h"

namespace onebit {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --back: #fff; --text: #1c1c1c; --dim: #5a5a5a; --line: #d9d9d9; --link: #0b57a8; --mark: #9a4a00;
  --s0: #1f6fb4; --s1: #c4520a; --s2: #2a7d3f; --s3: #8b3fa8; --s4: #a0731a; --s5: #b0305c; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e6e6e6; --dim: #a3a8ae; --line: #3a3f45; --link: #7db8f0; --mark: #f0b36b;
    --s0: #6fb1ea; --s1: #f09a5c; --s2: #74c78a; --s3: #c98be0; --s4: #d9b45c; --s5: #ee86a8; }
}
body { background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
a { color: var(--link); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
.dim { color: var(--dim); }
.mark { color: var(--mark); font-weight: 600; }
svg { display: block; height: auto; max-width: 45rem; width: 100%; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg path { fill: none; stroke-width: 2; }
svg line { stroke-width: 2; }
svg .seen { stroke-width: 1; }
svg .grid { stroke: var(--line); stroke-width: 1; }
)";

std::string colour_rules() {
  std::string out;
  for (int i = 0; i < 6; ++i)
    out += fmt::format(".s{0} {{ stroke: var(--s{0}); }} .f{0} {{ fill: var(--s{0}); }}\n", i);
  return out;
}

std::string cell(const char* tag, std::string_view text) {
  return fmt::format("<{}>{}</{}>", tag, html_escaped(text), tag);
}

std::string link(const ReportSource& source) {
  return fmt::format("<a href=\"{}\">{}</a>", html_escaped(source.link), html_escaped(source.file));
}

std::string html_stale_mark(const ReportSource& source) {
  return source.stale.empty() ? "" : fmt::format(" <span class=\"mark\">stale: {}</span>", html_escaped(source.stale));
}

std::string html_headline(const std::vector<ReportRow>& rows) {
  std::string out =
      "<div class=\"scroll\"><table>\n<tr><th>metric</th><th>value</th><th>source</th><th>what it means</th></tr>\n";
  for (const auto& row : rows) {
    const auto value =
        row.source ? cell("td", row.value) : fmt::format("<td class=\"mark\">{}</td>", html_escaped(row.value));
    out += fmt::format("<tr>{}{}<td>{}</td>{}</tr>\n", cell("td", row.metric), value,
                       row.source ? link(*row.source) + html_stale_mark(*row.source) : "none", cell("td", row.meaning));
  }
  return out + "</table></div>\n";
}

std::string plot_text(const Plot& plot) {
  const auto out = fmt::format("<h3>{}</h3>\n", html_escaped(plot.title));
  if (plot.series.empty() || plot.labels.empty())
    return out + fmt::format("<p class=\"mark\">missing: run {}</p>\n", html_escaped(plot.command));
  return out + svg(plot);
}

std::string section_html(const ReportSection& s) {
  auto out = fmt::format("<h2>{}</h2>\n<p><code>{}</code></p>\n", html_escaped(s.title), html_escaped(s.command));
  if (!s.source) return out + fmt::format("<p class=\"mark\">missing: run {}</p>\n", html_escaped(s.command));
  out += "<div class=\"scroll\"><table>\n<tr>";
  for (const auto& column : s.columns) out += cell("th", column);
  out += "</tr>\n";
  for (const auto& row : s.rows) {
    out += "<tr>";
    for (const auto& value : row) out += cell("td", value);
    out += "</tr>\n";
  }
  out += fmt::format("</table></div>\n<p class=\"dim\">From {}: {}.{}</p>\n", link(*s.source),
                     html_escaped(s.source->description), html_stale_mark(*s.source));
  if (!s.note.empty()) out += fmt::format("<p>{}</p>\n", html_escaped(s.note));
  return out;
}

}  // namespace

std::string report_html(const Report& report) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>1bit: measurements</title>\n";
  out += fmt::format("<style>{}{}</style>\n</head>\n<body>\n<h1>Measurements</h1>\n", kStyle, colour_rules());
  out += "<p>Every figure comes from a record; its source says which. A row without a record says how to make it.";
  if (!report.base.commit.empty())
    out += fmt::format(" Records are compared with commit {}{}; others are marked stale.",
                       html_escaped(report.base.commit.substr(0, 12)),
                       report.base.cpu ? " on " + html_escaped(*report.base.cpu) : "");
  out += "</p>\n" + html_headline(report.rows) + "<h2>Plots</h2>\n";
  for (const auto& plot : report.plots) out += plot_text(plot);
  for (const auto& section : report.sections) out += section_html(section);
  return out + "</body>\n</html>\n";
}

}  // namespace onebit
