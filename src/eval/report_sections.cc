// The detail tables: one a record, of its free-form results.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/report_parts.h"

namespace onebit {

using nlohmann::json;

const json& member(const json& object, const char* name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::optional<double> number_of(const json& value) {
  if (!value.is_number()) return {};
  return value.get<double>();
}

std::string number_cell(const json& value, int digits) {
  const auto number = number_of(value);
  return number ? fmt::format("{:.{}f}", *number, digits) : std::string();
}

std::optional<std::pair<double, double>> range_of(const json& values) {
  std::optional<std::pair<double, double>> range;
  if (!values.is_array()) return range;
  for (const auto& value : values)
    if (const auto x = number_of(value))
      range = range ? std::pair(std::min(range->first, *x), std::max(range->second, *x)) : std::pair(*x, *x);
  return range;
}

std::string text_cell(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return number_cell(value, 0);
}

const Record* find_record(const std::vector<Record>& records, std::string_view name) {
  const auto found = std::find_if(records.begin(), records.end(), [&](const Record& r) { return r.name == name; });
  return found == records.end() ? nullptr : &*found;
}

namespace {

using Cell = std::function<std::string(const json&)>;
struct Column {
  const char* title;
  Cell cell;
};

Cell text(const char* name) {
  return [name](const json& row) { return text_cell(member(row, name)); };
}

Cell number(const char* name, int digits, double scale = 1) {
  return [=](const json& row) {
    const auto value = number_of(member(row, name));
    return value ? fmt::format("{:.{}f}", *value * scale, digits) : std::string();
  };
}

Cell inside(const char* name, Cell cell) {
  return [name, cell = std::move(cell)](const json& row) { return cell(member(row, name)); };
}

/// "62.3 to 86.3": the lowest and highest of an array of numbers.
Cell range(const char* name, int digits) {
  return [=](const json& row) {
    const auto seen = range_of(member(row, name));
    return seen ? fmt::format("{:.{}f} to {:.{}f}", seen->first, digits, seen->second, digits) : std::string();
  };
}

Cell joined(const char* a, const char* between, const char* b) {
  return [=](const json& row) {
    const auto first = text_cell(member(row, a)), second = text_cell(member(row, b));
    return first.empty() || second.empty() ? std::string() : first + between + second;
  };
}

/// A row for each entry of an array.
void fill(ReportSection& section, const json& entries, const std::vector<Column>& columns) {
  for (const auto& column : columns) section.columns.emplace_back(column.title);
  if (!entries.is_array()) return;
  for (const auto& entry : entries) {
    auto& row = section.rows.emplace_back();
    for (const auto& column : columns) row.push_back(column.cell(entry));
  }
}

/// A row for each name: for records that hold one thing.
void fill_list(ReportSection& section, const json& results, const std::vector<Column>& lines) {
  section.columns = {"what", "measured"};
  for (const auto& line : lines)
    if (auto value = line.cell(results); !value.empty()) section.rows.push_back({line.title, std::move(value)});
}

void roofline(ReportSection& section, const json& results) {
  fill(section, results,
       {{"packing", text("packing")},
        {"threads", text("threads")},
        {"KV", text("kv")},
        {"depth", text("depth")},
        {"decode tok/s", number("decode_tokens_s", 1)},
        {"read bandwidth GB/s", number("bandwidth_gb_s", 1)},
        {"fraction of its limit", number("token_fraction", 3)},
        {"seen", range("token_fractions_seen", 3)},
        {"J a token", number("joules_per_token", 3)},
        {"prefill tok/s", inside("prefill", number("tokens_s", 0))},
        {"of the int8 peak", inside("prefill", number("fraction", 3))}});
}

Cell microseconds_of_part(const char* name) {
  auto microseconds = inside(name, number("us", 0));
  return inside("parts", std::move(microseconds));
}

void gpu(ReportSection& section, const json& results) {
  fill(section, member(results, "decode"),
       {{"GPU", text("gpu")},
        {"packing", text("packing")},
        {"KV", text("kv")},
        {"depth", text("depth")},
        {"decode tok/s", number("decode_tokens_s", 0)},
        {"read bandwidth GB/s", number("bandwidth_gb_s", 0)},
        {"fraction of its limit", number("token_fraction", 3)},
        {"J a token", number("joules_per_token", 3)},
        {"QKV µs", microseconds_of_part("qkv")},
        {"attention µs", microseconds_of_part("attention")},
        {"output µs", microseconds_of_part("attn_output")},
        {"gate and up µs", microseconds_of_part("gate_up")},
        {"down µs", microseconds_of_part("down")},
        {"head µs", microseconds_of_part("head")}});
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): it loses sight of what std::function moves

void gpu_batches(ReportSection& section, const json& results) {
  fill(section, member(results, "bench"),
       {{"packing", text("packing")},
        {"KV", text("kv")},
        {"prompt", text("n_prompt")},
        {"depth", text("n_depth")},
        {"batch", text("n_batch")},
        {"tok/s", number("median_ts", 0)}});
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

/// Of one test of the record bench: the rate of each round.
struct BenchTest {
  const char* name;
  const char* kv;
  double depth, batch;
};

std::vector<double> seen(const json& results, std::string_view packing, const BenchTest& test) {
  std::vector<double> out;
  if (!results.is_array()) return out;
  for (const auto& entry : results) {
    const auto is = [&](const char* name, std::string_view value) { return text_cell(member(entry, name)) == value; };
    if (!is("name", test.name) || !is("packing", packing) || !is("kv", test.kv) ||
        number_of(member(entry, "n_depth")) != test.depth || number_of(member(entry, "n_batch")) != test.batch)
      continue;
    const auto& values = member(entry, "seen");
    for (const auto& value : values.is_array() ? values : json::array())
      if (const auto x = number_of(value)) out.push_back(*x);
    break;
  }
  return out;
}

/// The median over rounds of a / b; empty where a round is missing.
std::string ratio(const json& results, std::string_view packing, const BenchTest& a, const BenchTest& b) {
  const auto above = seen(results, packing, a), below = seen(results, packing, b);
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(above.size(), below.size()); ++i)
    if (below[i] > 0) ratios.push_back(above[i] / below[i]);
  const auto middle = median(std::move(ratios));
  return middle ? fmt::format("{:.3f}", *middle) : "not recorded";
}

std::string bench_ratios(const json& results) {
  constexpr BenchTest kIdle{"decode", "f16", 64, 1}, kDeep{"decode", "f16", 1024, 1}, kQ8{"decode", "q8", 64, 1},
      kDeepQ8{"decode", "q8", 1024, 1}, kOne{"batch", "f16", 64, 1}, kEight{"batch", "f16", 64, 8},
      kBusy{"beside_a_busy_process", "f16", 64, 1};
  std::string out = "Ratios, medians over rounds: ";
  for (const char* p : {"t2", "t1_6"})
    out +=
        fmt::format("{}: depth 1024 of 64 {} (q8 KV {}), batch 8 of 1 {}, beside a busy process {} of idle{}", p,
                    ratio(results, p, kDeep, kIdle), ratio(results, p, kDeepQ8, kQ8), ratio(results, p, kEight, kOne),
                    ratio(results, p, kBusy, kIdle), *p == 't' && p[1] == '2' ? "; " : ".");
  return out;
}

void bench(ReportSection& section, const json& results) {
  const Cell name = [](const json& row) {
    auto words = text_cell(member(row, "name"));
    std::replace(words.begin(), words.end(), '_', ' ');
    return words;
  };
  fill(section, results,
       {{"test", name},
        {"packing", text("packing")},
        {"KV", text("kv")},
        {"threads", text("threads")},
        {"prompt", text("n_prompt")},
        {"depth", text("n_depth")},
        {"batch", text("n_batch")},
        {"tok/s", number("tokens_s", 1)},
        {"seen", range("seen", 1)}});
  section.note = bench_ratios(results);
}

void peers(ReportSection& section, const json& results) {
  section.columns = {"engine", "prefill 256 tok/s", "decode after 64 tok/s"};
  if (const auto& medians = member(results, "medians"); medians.is_object())
    for (const auto& [engine, value] : medians.items())
      section.rows.push_back({engine, number_cell(member(value, "prefill_tokens_s"), 1),
                              number_cell(member(value, "decode_tokens_s"), 1)});
  std::string ratios;
  if (const auto& all = member(results, "ratios"); all.is_object())
    for (const auto& [name, value] : all.items())
      ratios += (ratios.empty() ? "" : ", ") + name + " " + number_cell(value, 2);
  if (!ratios.empty()) section.note = "Ratios, medians of rounds side by side: " + ratios + ".";
}

void architectures(ReportSection& section, const json& results) {
  fill(section, results,
       {{"shape", text("preset")},
        {"family", text("family")},
        {"gate", text("activation")},
        {"layers", text("layers")},
        {"hidden", text("hidden")},
        {"head", text("head_dim")},
        {"feed-forward", text("ffn")},
        {"weights, 10⁹", number("weights", 2, 1e-9)},
        {"packing", text("packing")},
        {"threads", text("threads")},
        {"prefill 256 tok/s", number("prefill_tokens_s", 0)},
        {"decode after 64 tok/s", number("decode_tokens_s", 1)},
        {"seen", range("decode_seen", 1)}});
}

void attention(ReportSection& section, const json& results) {
  fill(section, results,
       {{"KV", text("kv")},
        {"threads", text("threads")},
        {"context", text("length")},
        {"split µs", number("split_us", 1)},
        {"one task a head µs", number("single_us", 1)},
        {"ratio", number("ratio", 2)},
        {"same bits", text("same_bits")}});
}

void contract(ReportSection& section, const json& results) {
  fill(section, results,
       {{"KV", text("kv")},
        {"context", text("length")},
        {"contract µs", number("contract_us", 1)},
        {"free order µs", number("free_us", 1)},
        {"ratio", number("ratio", 2)}});
}

void lookup(ReportSection& section, const json& results) {
  fill(section, results,
       {{"prompt", text("prompt")},
        {"off tok/s", number("off_tokens_s", 0)},
        {"on tok/s", number("on_tokens_s", 0)},
        {"ratio", number("ratio", 2)},
        {"accepted of drafted", joined("accepted", " of ", "drafted")},
        {"same answer", text("same_answer")}});
}

void startup(ReportSection& section, const json& results) {
  fill_list(section, results,
            {{"first token, bundled model, ms", number("first_token_ms", 1)},
             {"halo inspect, 2B, ms", number("inspect_2b_ms", 1)},
             {"peak memory, 2B, MB", number("memory_bytes", 0, 1e-6)},
             {"file, MB", number("file_bytes", 0, 1e-6)},
             {"KV cache, MB", number("kv_bytes", 0, 1e-6)}});
}

void perplexity(ReportSection& section, const json& results) {
  fill_list(section, results,
            {{"gen-2, whole text", number("token_perplexity", 4)},
             {"independent float32", number("golden", 4)},
             {"difference, %", number("relative_difference", 3, 100)},
             {"windows by gen-1 too", text("windows_by_both")},
             {"largest difference there, nats", [](const json& r) {
                const auto delta = number_of(member(r, "delta_nll"));
                return delta ? fmt::format("{:g}", *delta) : std::string();
              }}});
}

void configurations(ReportSection& section, const json& results) {
  fill(section, member(results, "configurations"),
       {{"engine", text("engine")},
        {"packing", text("packing")},
        {"KV", text("kv")},
        {"head", text("head")},
        {"windows", text("windows")},
        {"perplexity", number("token_perplexity", 4)},
        {"sum of nll, nats", number("nll_sum", 4)}});
}

void sherry(ReportSection& section, const json& results) {
  fill(section, member(results, "models"),
       {{"model", text("what")},
        {"packing", text("packing")},
        {"file MB", number("file_bytes", 1, 1e-6)},
        {"ternary MB a token", inside("token_bytes", number("ternary", 1, 1e-6))},
        {"perplexity", number("token_perplexity", 2)},
        {"questions answered", joined("exact", " of ", "questions")},
        {"decode tok/s", number("decode_tokens_s", 1)},
        {"seen", range("decode_seen", 1)},
        {"ternary µs a token", number("ternary_us", 0)}});
  const auto& ratios = member(results, "ratios");
  const auto seen = [&](const char* name) { return range(name, 2)(ratios); };
  section.note = fmt::format("s1_25 over t1_6, the 2B shape, round by round: decode {}, ternary products {}.",
                             seen("decode"), seen("product"));
}

void server(ReportSection& section, const json& results) {
  fill_list(section, results,
            {{"program without symbols, MB", number("stripped_bytes", 2, 1e-6)},
             {"ready after, ms", number("ready_ms", 0)},
             {"one stream, tok/s", number("one_stream_tokens_s", 1)},
             {"halo bench beside it, tok/s", number("bench_tokens_s", 1)},
             {"overhead, of 1", number("overhead", 3)},
             {"eight streams, tok/s", number("eight_streams_tokens_s", 1)},
             {"eight streams to one", number("eight_to_one", 2)},
             {"between tokens while a long prompt comes, ms, half", inside("long_prompt", number("p50_ms", 1))},
             {"the same, 99 of 100", inside("long_prompt", number("p99_ms", 1))},
             {"one-token completions a second, bundled model", number("one_token_served_s", 0)},
             {"refusal, ms, 99 of 100", number("refused_p99_ms", 1)},
             {"refusals a second", number("refused_s", 0)},
             {"memory growth, MB", number("memory_growth_bytes", 2, 1e-6)},
             {"1000 waiting streams, MB", number("waiting_streams_bytes", 2, 1e-6)}});
}

void soak(ReportSection& section, const json& results) {
  fill_list(section, results,
            {{"seconds", text("seconds")},
             {"clients", text("clients")},
             {"most memory, MB", number("highest_resident_bytes", 1, 1e-6)},
             {"own memory at rest, before, MB", inside("warm", number("own_bytes", 1, 1e-6))},
             {"own memory at rest, after, MB", inside("after", number("own_bytes", 1, 1e-6))},
             {"KV pages left", text("pages_left")},
             {"files left", text("files_left")}});
}

/// Never rounded up.
std::string exact_percent(const json& pair) {
  const auto value = number_of(member(pair, "exact_rate"));
  return value ? fmt::format("{:.2f}", std::floor(*value * 10000) / 100) : std::string();
}

void burn_in(ReportSection& section, const json& results) {
  fill(section, member(results, "pairs"),
       {{"pair", text("name")},
        {"a", text("a")},
        {"b", text("b")},
        {"prompts", text("prompts")},
        {"rounds", text("rounds")},
        {"exact", text("exact")},
        {"prefix only", text("prefix_only")},
        {"no match", text("no_match")},
        {"a unreachable", text("a_unreachable")},
        {"b unreachable", text("b_unreachable")},
        {"exact %", exact_percent},
        {"a ms, half", inside("a_ms", number("p50", 0))},
        {"a ms, 95 of 100", inside("a_ms", number("p95", 0))},
        {"b ms, half", inside("b_ms", number("p50", 0))},
        {"b ms, 95 of 100", inside("b_ms", number("p95", 0))}});
}

void burn_in_peer(ReportSection& section, const json& results) {
  fill_list(section, results,
            {{"peer", text("peer")},
             {"rounds", text("rounds")},
             {"exact", text("exact")},
             {"prefix only", text("prefix_only")},
             {"no match", text("no_match")},
             {"exact %", exact_percent},
             {"1bit-server, ms, half", inside("a_ms", number("p50", 0))},
             {"the peer, ms, half", inside("b_ms", number("p50", 0))}});
  section.note =
      "The peer has no architecture with this model's squared ReLU and sub-norms, so it computes another function: the "
      "rate says that the harness works across programs, and nothing of either's quality.";
}

void burn_in_stats(ReportSection& section, const json& results) {
  fill_list(section, results, {{"rounds in the log", text("rounds")}, {"halo burnin stats, ms", number("ms", 0)}});
}

Cell median_ms(const char* stage) {
  return inside(stage, number("p50", 0));
}

void voice_loops(ReportSection& section, const json& results) {
  fill(section, member(results, "loops"),
       {{"model", text("model")},
        {"loop", text("loop")},
        {"answered of", joined("answered", " of ", "questions")},
        {"final transcript ms", median_ms("final_ms")},
        {"first token", median_ms("first_token_ms")},
        {"first sentence", median_ms("first_sentence_ms")},
        {"first audio", median_ms("first_audio_ms")},
        {"95 of 100", inside("first_audio_ms", number("p95", 0))}});
  std::string sooner;
  if (const auto& all = member(results, "sooner"); all.is_array())
    for (const auto& each : all)
      sooner += fmt::format("{}{}: {} times sooner, median over {} answers", sooner.empty() ? "" : "; ",
                            text_cell(member(each, "model")), number_cell(member(each, "ratio"), 1),
                            text_cell(member(each, "answers")));
  section.note = fmt::format(
      "Medians in ms after the last sample of speech and the {} ms of silence that end a turn, which are counted on "
      "neither "
      "side; below zero: in that silence. Where answers have three sentences or more the streaming loop is heard "
      "before the "
      "serial one: {}.",
      text_cell(member(results, "silence_ms")), sooner);
}

void voice_words(ReportSection& section, const json& results) {
  fill(section, member(results, "word_errors"),
       {{"voice", text("voice")},
        {"noise, dB below", text("noise")},
        {"words", text("words")},
        {"wrong", text("errors")},
        {"%", number("rate", 1, 100)}});
}

struct SectionSpec {
  const char* title;
  const char* command;
  const char* record;
  void (*fill)(ReportSection&, const json&);
  bool optional = false;  // left out where it has no rows
};

constexpr SectionSpec kSections[]{
    {"Decode and prefill against the machine", "benchmarks/roofline.sh", "roofline", roofline},
    {"Decode, prefill, batches, a busy neighbour", "benchmarks/bench.sh", "bench", bench},
    {"On a GPU: one answer", "benchmarks/gpu.sh", "gpu", gpu, true},
    {"On a GPU: prompts and batches", "benchmarks/gpu.sh", "gpu", gpu_batches, true},
    {"Beside node-llama-cpp", "benchmarks/peers/run.sh", "peers", peers},
    {"Split-KV attention beside one task a head", "benchmarks/attn_fd.sh", "attn_fd", attention},
    {"What the numerics contract costs", "benchmarks/contract_cost.sh", "contract_cost", contract},
    {"Lookup speculation (bundled model)", "benchmarks/lookup.sh", "lookup", lookup},
    {"Start and memory", "benchmarks/startup.sh", "startup", startup},
    {"Perplexity (bundled model, WikiText-2 test)", "benchmarks/ppl-gen2.sh", "ppl-gen2", perplexity},
    {"Architectures", "benchmarks/architectures.sh", "architectures", architectures},
    {"Dense and 3:4 sparse twins", "benchmarks/sherry.sh", "sherry", sherry},
    {"s1_25 on a GPU", "benchmarks/sherry.sh", "sherry_gpu", sherry},
    {"Perplexity by configuration", "benchmarks/ppl-gen2.sh", "ppl-gen2", configurations, true},
    {"Burn-in: two engines side by side", "benchmarks/shadow-burnin.sh", "burnin", burn_in},
    {"Burn-in against another program", "benchmarks/peers/burnin.sh", "burnin-peer", burn_in_peer},
    {"Time to read a burn-in's log", "benchmarks/burnin-stats.sh", "burnin-stats", burn_in_stats},
    {"1bit-server under load", "benchmarks/server.sh", "server", server},
    {"1bit-server and rude clients", "benchmarks/soak.sh", "soak", soak},
    {"From mouth to ear", "benchmarks/voice.sh", "voice", voice_loops},
    {"Words that are misheard", "benchmarks/voice.sh", "voice", voice_words, true},
};

}  // namespace

std::vector<ReportSection> report_sections(const std::vector<Record>& records,
                                           const std::function<ReportSource(const Record&)>& source) {
  std::vector<ReportSection> sections;
  for (const auto& spec : kSections) {
    ReportSection section{spec.title, spec.command, spec.record, {}, {}, {}, {}};
    if (const auto* record = find_record(records, spec.record)) {
      spec.fill(section, *record->results);
      section.source = source(*record);
    }
    if (!spec.optional || !section.rows.empty()) sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace onebit
