// What report.cc puts together: for this folder only.
#pragma once

#include <functional>

#include "eval/report.h"

namespace onebit {

/// A record's free-form results, read without trust: what is absent or of another type is an empty cell.
const nlohmann::json& member(const nlohmann::json& object, const char* name);
std::optional<double> number_of(const nlohmann::json& value);
/// With so many digits after the point; empty where it is no number.
std::string number_cell(const nlohmann::json& value, int digits);
/// The lowest and highest number of an array; absent where there is none.
std::optional<std::pair<double, double>> range_of(const nlohmann::json& values);
/// Texts as they are, whole numbers, yes and no.
std::string text_cell(const nlohmann::json& value);

/// Null where there is no such record.
const Record* find_record(const std::vector<Record>& records, std::string_view name);

/// The detail tables, in the page's order. `source` describes a record.
std::vector<ReportSection> report_sections(const std::vector<Record>& records,
                                           const std::function<ReportSource(const Record&)>& source);
std::vector<Plot> report_plots(const std::vector<Record>& records);

}  // namespace onebit
