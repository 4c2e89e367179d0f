// The page of measurements: every figure of it comes from a record, and each says from which.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "eval/plot.h"
#include "eval/record.h"

namespace onebit {

/// What records are compared with; a record of another commit or machine is marked.
struct ReportBase {
  std::string commit;  // full or its beginning; empty: none is compared
  std::string date;    // of the newest record, where it is that one's commit
  std::optional<std::string> cpu;
  std::optional<uint64_t> cores;
};

struct ReportInput {
  std::vector<Record> records;
  std::vector<TestStage> stages;   // empty: there is no record of a test run
  std::string records_link;        // from the page to the folder of records, without a slash at its end
  std::string tests_link;          // from the page to tests/records/full.json
  std::optional<ReportBase> base;  // absent: the newest record's
};

/// Where figures come from.
struct ReportSource {
  std::string file, link;   // the record
  std::string description;  // machine, date, commit
  std::string stale;        // what differs from the base; empty: nothing
};

/// A line of the first table.
struct ReportRow {
  std::string metric, value, meaning;
  std::optional<ReportSource> source;  // absent: there is no record, and `value` says what to run
  std::vector<Metric> figures;         // what `value` shows
};

/// A table of one record's details.
struct ReportSection {
  std::string title, command, record;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::string note;                    // below the table; may be empty
  std::optional<ReportSource> source;  // absent: there is no record
};

struct Report {
  ReportBase base;
  std::vector<ReportRow> rows;
  std::vector<ReportSection> sections;
  std::vector<Plot> plots;  // one without series: there is no record
};

/// A pure function of its input.
Report build_report(const ReportInput& input);

std::string report_markdown(const Report& report);
/// One page without scripts or anything to load, light or dark as the reader's system is.
std::string report_html(const Report& report);
std::string report_json(const Report& report);

}  // namespace onebit
