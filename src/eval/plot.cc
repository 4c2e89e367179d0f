#include "eval/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace onebit {
namespace {

constexpr int kWidth = 720, kLeft = 64, kRight = 24, kTop = 16, kHeight = 300, kBottom = 48, kInset = 36;
constexpr size_t kColours = 6, kMostPoints = 5000, kMostBars = 100, kMostSeries = 12;
constexpr int kBar = 24, kBarLeft = 230, kBarRight = 70;

/// -1 where a value is not shown.
double to_show(const std::optional<double>& value) {
  const double v = value.value_or(-1);
  return v >= 0 && v <= 1e15 ? v : -1;
}

double highest_of(const Plot& plot) {
  double highest = plot.highest;
  for (const auto& series : plot.series)
    for (const auto& value : series.values) highest = std::max(highest, to_show(value));
  for (const auto& series : plot.series)
    for (const auto& range : series.ranges)
      if (range) highest = std::max(highest, to_show(range->second));
  return highest > 1e-9 ? highest : 1;
}

/// The distance of grid lines: 1, 2 or 5 times a power of ten, four to ten of them.
double step_of(double highest) {
  const double power = std::pow(10, std::floor(std::log10(highest)));
  for (const double factor : {0.1, 0.2, 0.5})
    if (highest / (power * factor) <= 10) return power * factor;
  return power;
}

std::string text_at(double x, double y, const char* anchor, std::string_view text, const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                     html_escaped(text));
}

std::string opening(const Plot& plot, int height) {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth, height,
                     html_escaped(plot.title));
}

std::string number(double value, int digits) {
  return fmt::format("{:.{}f}", value, digits);
}

/// Where a value and the label at an index stand in a plot of lines.
struct Scale {
  size_t labels;
  double highest;
  double x(size_t index) const {
    const double left = kLeft + kInset, width = kWidth - kRight - kInset - left;
    return left + (labels < 2 ? width / 2 : width * static_cast<double>(index) / static_cast<double>(labels - 1));
  }
  double y(double value) const { return kTop + (kHeight - kTop - kBottom) * (1 - value / highest); }
};

std::string grid(const Plot& plot, const Scale& scale) {
  std::string out;
  const double step = step_of(scale.highest);
  const int digits = std::clamp(static_cast<int>(-std::floor(std::log10(step))), 0, 6);
  for (int i = 0; i <= 20 && i * step <= scale.highest * 1.0001; ++i) {
    const double y = scale.y(i * step);
    out += fmt::format("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kLeft,
                       kWidth - kRight, y, y);
    out += text_at(kLeft - 8, y + 4, "end", number(i * step, digits));
  }
  const size_t every = (scale.labels + 7) / 8;  // at most 8 labels fit
  for (size_t i = 0; i < scale.labels; i += every)
    out += text_at(scale.x(i), kHeight - kBottom + 18, "middle", plot.labels[i]);
  out += text_at((kLeft + kWidth - kRight) / 2.0, kHeight - 8, "middle", plot.x_axis);
  out += text_at(14, kHeight / 2.0, "middle", plot.y_axis,
                 fmt::format(" transform=\"rotate(-90 14 {})\"", kHeight / 2).c_str());
  return out;
}

/// A thin upright line from the lowest to the highest that was seen.
std::string range_of(const PlotSeries& series, const Scale& scale, size_t index, size_t colour, double shift) {
  const auto [low, high] =
      index < series.ranges.size() ? series.ranges[index].value_or(std::pair(-1.0, -1.0)) : std::pair(-1.0, -1.0);
  if (to_show(low) < 0 || to_show(high) < 0) return "";
  const double x = scale.x(index) + shift;
  return fmt::format("<line class=\"s{} seen\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", colour, x,
                     x, scale.y(low), scale.y(high));
}

/// `shift`: to the side, so that series with ranges do not hide each other.
std::string line_of(const PlotSeries& series, const Scale& scale, size_t colour, double shift, int digits) {
  std::string path, dots;
  bool drawing = false;
  for (size_t i = 0; i < std::min(series.values.size(), scale.labels); ++i) {
    const double value = to_show(series.values[i]);
    if (value < 0) {
      drawing = false;
      continue;
    }
    const double x = scale.x(i) + shift, y = scale.y(value);
    dots += range_of(series, scale, i, colour, shift);
    path += fmt::format("{}{:.1f} {:.1f}", drawing ? " L" : " M", x, y);
    if (scale.labels <= 60)
      dots += fmt::format("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {}</title></circle>\n",
                          colour, x, y, html_escaped(series.name), number(value, digits));
    drawing = true;
  }
  return path.empty() ? "" : fmt::format("<path class=\"s{}\" d=\"{}\"/>\n", colour, path.substr(1)) + dots;
}

std::string lines(const Plot& plot) {
  const Scale scale{std::min(plot.labels.size(), kMostPoints), highest_of(plot)};
  const size_t series = std::min(plot.series.size(), kMostSeries);
  const int height = kHeight + 20 * static_cast<int>(series);
  std::string out = opening(plot, height) + grid(plot, scale);
  for (size_t i = 0; i < series; ++i) {
    const double shift =
        plot.series[i].ranges.empty() ? 0 : 7 * (static_cast<double>(i) - (static_cast<double>(series) - 1) / 2);
    out += line_of(plot.series[i], scale, i % kColours, shift, plot.digits);
    const int y = kHeight + 20 * static_cast<int>(i) + 8;
    out += fmt::format("<line class=\"s{}\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", i % kColours, kLeft,
                       kLeft + 28, y, y);
    out += text_at(kLeft + 36, y + 4, "start", plot.series[i].name);
  }
  return out + "</svg>\n";
}

std::string bars(const Plot& plot) {
  static const std::vector<std::optional<double>> kNone;
  const auto& values = plot.series.empty() ? kNone : plot.series.front().values;
  const size_t count = std::min({plot.labels.size(), values.size(), kMostBars});
  const double highest = highest_of(plot), width = kWidth - kBarLeft - kBarRight;
  std::string out = opening(plot, kBar * static_cast<int>(count) + 28);
  for (size_t i = 0; i < count; ++i) {
    const int y = kBar * static_cast<int>(i) + 4;
    out += text_at(kBarLeft - 8, y + 14, "end", plot.labels[i]);
    const double value = to_show(values[i]);
    if (value < 0) continue;
    const double length = width * value / highest;
    out += fmt::format("<rect class=\"f0\" x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>\n", kBarLeft, y, length,
                       kBar - 6);
    out += text_at(kBarLeft + length + 6, y + 14, "start", number(value, plot.digits));
  }
  out += text_at(kBarLeft, kBar * static_cast<double>(count) + 20, "start", plot.y_axis);
  return out + "</svg>\n";
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

std::string svg(const Plot& plot) {
  return plot.bars ? bars(plot) : lines(plot);
}

}  // namespace onebit
