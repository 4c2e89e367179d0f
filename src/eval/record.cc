#include "eval/record.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "base/utf8.h"
#include "format/import/json.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr size_t kMaxText = 400;  // bytes of a field that is a text
constexpr double kMaxCount = 9007199254740992.0;
constexpr size_t kMaxEntries = 1000;  // metrics of a record, stages of a test run

bool is_plain_text(const std::string& text) {
  return text.size() <= kMaxText && std::none_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
         });
}

bool is_name(const std::string& text) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  return !text.empty() && text.size() <= 100 && std::all_of(text.begin(), text.end(), allowed);
}

bool is_commit(const std::string& text) {
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text == "unknown" ||
         (text.size() >= 7 && text.size() <= 40 && std::all_of(text.begin(), text.end(), hexadecimal));
}

/// 2026-01-31T12:00:00Z, as far as its form goes.
bool is_date(const std::string& text) {
  constexpr std::string_view kForm = "0000-00-00T00:00:00Z";
  if (text.size() != kForm.size()) return false;
  for (size_t i = 0; i < kForm.size(); ++i)
    if (kForm[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != kForm[i]) return false;
  return true;
}

/// Reads the fields of one object; every field must be there. Keeps the first fault.
class FieldReader {
 public:
  /// `place` names the object in errors: "" at the top, "machine." below.
  FieldReader(const json& object, std::string place, std::string& fault)
      : object_(object), place_(std::move(place)), fault_(fault) {
    if (!object.is_object()) wrong("", "expected an object");
  }

  const json& field(const char* name) {
    static const json kNull;
    const auto found = object_.is_object() ? object_.find(name) : object_.end();
    if (object_.is_object() && found != object_.end()) return *found;
    wrong(name, "is missing");
    return kNull;
  }

  std::string text(const char* name) {
    const auto& value = field(name);
    if (value.is_string() && is_plain_text(value.get_ref<const std::string&>())) return value.get<std::string>();
    wrong(name, fmt::format("expected a text of at most {} bytes without control characters", kMaxText));
    return {};
  }
  std::string text(const char* name, bool (*sound)(const std::string&), const char* expected) {
    auto value = text(name);
    if (!sound(value)) wrong(name, fmt::format("'{}', expected {}", printable(value), expected));
    return value;
  }
  std::optional<std::string> text_or_null(const char* name) {
    if (field(name).is_null()) return {};
    return text(name);
  }

  double number(const char* name) {
    const auto& value = field(name);
    if (value.is_number()) return value.get<double>();
    wrong(name, "expected a number");
    return 0;
  }
  std::optional<double> number_or_null(const char* name) {
    if (field(name).is_null()) return {};
    return number(name);
  }

  uint64_t count(const char* name) {
    const double value = number(name);
    if (value >= 0 && value <= kMaxCount && value == std::floor(value)) return static_cast<uint64_t>(value);
    wrong(name, "expected a whole number from 0");
    return 0;
  }
  std::optional<uint64_t> count_or_null(const char* name) {
    if (field(name).is_null()) return {};
    return count(name);
  }

  bool flag(const char* name) {
    const auto& value = field(name);
    if (value.is_boolean()) return value.get<bool>();
    wrong(name, "expected true or false");
    return false;
  }

  void wrong(const char* name, std::string_view what) {
    if (!fault_.empty()) return;
    const auto where =
        *name != 0 ? place_ + name : place_.substr(0, place_.size() - std::min<size_t>(place_.size(), 1));
    fault_ = fmt::format("{}: {}", where, what);
  }

 private:
  const json& object_;
  std::string place_;
  std::string& fault_;
};

MachineFacts read_machine(const json& object, std::string& fault) {
  FieldReader in(object, "machine.", fault);
  MachineFacts m;
  m.cpu = in.text_or_null("cpu");
  m.gpu = in.text_or_null("gpu");
  m.kernel = in.text_or_null("kernel");
  m.governor = in.text_or_null("governor");
  m.power_profile = in.text_or_null("power_profile");
  m.cores = in.count_or_null("cores");
  m.memory_bytes = in.count_or_null("memory_bytes");
  m.bandwidth_gb_s = in.number_or_null("bandwidth_gb_s");
  m.temperature_c = in.number_or_null("temperature_c");
  if (object.is_object() && object.contains("gpu_temperature_c"))
    m.gpu_temperature_c = in.number_or_null("gpu_temperature_c");
  const auto& caches = in.field("caches");
  if (!caches.is_null() && !caches.is_array()) in.wrong("caches", "expected an array or null");
  for (size_t i = 0; caches.is_array() && i < caches.size(); ++i) {
    FieldReader cache(caches[i], fmt::format("machine.caches[{}].", i), fault);
    cache.count("level");
    cache.text("type");
    cache.count("bytes");
  }
  return m;
}

Metric read_metric(const json& object, size_t index, std::string& fault) {
  FieldReader in(object, fmt::format("metrics[{}].", index), fault);
  Metric m;
  m.name = in.text("metric", is_name, "a-z, 0-9, _ and -");
  m.value = in.number("value");
  m.unit = in.text("unit");
  const auto& spread = in.field("spread");
  if (spread.is_null()) return m;
  FieldReader of(spread, fmt::format("metrics[{}].spread.", index), fault);
  m.spread = Spread{of.number("low"), of.number("high"), of.count("rounds")};
  if (m.spread->low > m.spread->high) of.wrong("low", "is above high");
  if (m.spread->rounds == 0) of.wrong("rounds", "expected at least 1");
  return m;
}

void read_metrics(const json& metrics, Record& record, std::string& fault) {
  if (!metrics.is_array()) {
    if (fault.empty()) fault = "metrics: expected an array";
    return;
  }
  if (metrics.size() > kMaxEntries && fault.empty()) fault = fmt::format("metrics: more than {}", kMaxEntries);
  for (size_t i = 0; i < metrics.size() && fault.empty(); ++i) {
    auto metric = read_metric(metrics[i], i, fault);
    if (fault.empty() && record.metric(metric.name) != nullptr)
      fault = fmt::format("metrics[{}].metric: '{}' stands there twice", i, metric.name);
    record.metrics.push_back(std::move(metric));
  }
}

std::string stem_of(const std::string& path) {
  return std::filesystem::path(path).stem().string();
}

}  // namespace

const Metric* Record::metric(std::string_view wanted) const {
  const auto found = std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == wanted; });
  return found == metrics.end() ? nullptr : &*found;
}

Result<Record> parse_record(std::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(auto root, parse_json_object(text, path));
  std::string fault;
  FieldReader in(root, "", fault);
  if (const auto& schema = in.field("schema"); !schema.is_number() || schema.get<double>() != 1)
    in.wrong("schema", "expected 1, the version that docs/records.md describes");
  Record record;
  record.name = in.text("name", is_name, "a-z, 0-9, _ and -");
  if (record.name != stem_of(path)) in.wrong("name", "expected the file's name without .json");
  record.command = in.text("command");
  record.commit = in.text("commit", is_commit, "7 to 40 hexadecimal digits or 'unknown'");
  record.dirty = in.flag("dirty");
  record.date = in.text("date", is_date, "a date such as 2026-01-31T12:00:00Z");
  record.machine = read_machine(in.field("machine"), fault);
  if (const auto& model = in.field("model"); !model.is_null()) {
    FieldReader of(model, "model.", fault);
    record.model_name = of.text("name");
    record.model_hash = of.text_or_null("hash");
  }
  read_metrics(in.field("metrics"), record, fault);
  in.field("results");
  if (!fault.empty()) return fail("{}: {}", path, fault);
  record.results = std::make_shared<json>(std::move(root["results"]));
  return record;
}

Result<Record> read_record(const std::string& path) {
  ASSIGN_OR_RETURN(const auto text, read_text_file(path, kMaxRecordBytes));
  return parse_record(text, path);
}

Result<std::vector<Record>> read_records(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().extension() == ".json") paths.push_back(at->path().string());
  if (error) return fail("{}: cannot read the folder: {}", folder, error.message());
  std::sort(paths.begin(), paths.end());
  std::vector<Record> records;
  for (const auto& path : paths) {
    ASSIGN_OR_RETURN(auto record, read_record(path));
    records.push_back(std::move(record));
  }
  return records;
}

Result<std::vector<TestStage>> parse_test_stages(std::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, path));
  if (root.size() > kMaxEntries) return fail("{}: more than {} stages", path, kMaxEntries);
  std::vector<TestStage> stages;
  std::string fault;
  for (const auto& [name, object] : root.items()) {
    if (!is_name(name)) return fail("{}: stage '{}': expected a-z, 0-9, _ and - in its name", path, printable(name));
    FieldReader in(object, name + ".", fault);
    TestStage stage;
    stage.name = name;
    stage.commit = in.text("commit", is_commit, "7 to 40 hexadecimal digits or 'unknown'");
    stage.date = in.text("date", is_date, "a date such as 2026-01-31T12:00:00Z");
    stage.passed = in.count("passed");
    stage.failed = in.count("failed");
    stage.skipped = in.count("skipped");
    stages.push_back(std::move(stage));
  }
  if (!fault.empty()) return fail("{}: {}", path, fault);
  return stages;
}

Result<std::vector<TestStage>> read_test_stages(const std::string& path) {
  ASSIGN_OR_RETURN(const auto text, read_text_file(path, kMaxRecordBytes));
  return parse_test_stages(text, path);
}

}  // namespace onebit
