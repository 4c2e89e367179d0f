// Plots as inline SVG for pages that load nothing else. Colours are the page's CSS variables --s0 … --s5, --line,
// --text.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace onebit {

struct PlotSeries {
  std::string name;
  std::vector<std::optional<double>> values;                     // one a label; absent: the line has a gap
  std::vector<std::optional<std::pair<double, double>>> ranges;  // lowest and highest seen, of lines; may be empty
};

/// Either lines over labels at equal distances, or one bar a label (then there is one series without a name). Axes
/// begin at 0.
struct Plot {
  std::string title;
  std::string x_axis, y_axis;  // what is shown, with its unit
  bool bars = false;
  std::vector<std::string> labels;
  std::vector<PlotSeries> series;
  int digits = 1;       // after the point, where a value is written
  double highest = 0;   // of the axis; 0: as the values need it
  std::string command;  // the script whose record this shows
};

/// `text` as it may stand in HTML and in quoted attributes; control characters become spaces.
std::string html_escaped(std::string_view text);

/// Values below 0 or above 10^15 are left out, as are points past the first 5,000 and bars past the first 100.
std::string svg(const Plot& plot);

}  // namespace onebit
