#include "eval/roofline.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "eval/bench.h"
#include "eval/energy.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "kernels/cpu/select.h"

namespace onebit::halo {
namespace {

struct RooflineArguments {
  ModelArguments model;
  uint32_t depth = 64, tokens = 32, prompt = 256, rounds = 5;
  bool json = false;
};

struct Measured {
  std::vector<double> bandwidth;  // bytes a second: the best seen just before and just after each round
  std::vector<double> decode;     // tokens a second of each round
  std::vector<double> prefill;
  double dot_peak = 0;
  std::string energy_source;           // empty: nothing tells
  std::vector<double> joules_a_token;  // of decode in each round
  StepProfile profile;                 // of the decode rounds
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// What is measured: the CPU with so many threads, or a GPU.
struct Machine {
  std::string name;  // as Model::engine_name()
  unsigned threads = 0;
  const gpu::Module* gpu = nullptr;
  int device = 0;

  EnergySource energy() const { return {.device = name, .pci = gpu != nullptr ? gpu->pci_address(device) : ""}; }
  double bandwidth() const { return gpu != nullptr ? gpu->read_bandwidth(device) : measure_read_bandwidth(threads, 1); }
};

Result<Machine> machine_of(const Model& model, const ModelArguments& a) {
  Machine m{model.engine_name(), a.threads > 0 ? a.threads : available_processors(), nullptr, 0};
  if (m.name == "cpu") return m;
  ASSIGN_OR_RETURN(const auto device, device_by_name(m.name));
  ASSIGN_OR_RETURN(const auto module, load_gpu_module(device.module));
  m.gpu = module.functions;
  m.device = device.index;
  return m;
}

/// Energy of decode, over long enough that counters which change some ten times a second are good for it.
Status measure_energy(const RooflineArguments& a, Backend& backend, EnergyMeter& meter, Measured& m) {
  constexpr double kSeconds = 2;
  const auto runs = static_cast<uint32_t>(std::ceil(kSeconds * m.decode.back() / a.tokens));
  std::optional<double> before;
  const auto begin = [&](uint32_t done) {
    if (done == 0) before = meter.joules();
  };
  RETURN_IF_ERROR(run_bench(backend, {.answer = a.tokens, .depth = a.depth}, runs, begin));
  const auto after = meter.joules();
  if (before && after) m.joules_a_token.push_back((*after - *before) / (static_cast<double>(runs) * a.tokens));
  return {};
}

/// Bandwidth, decode, prefill, and again: what else the machine does meets all alike.
Result<Measured> measure(const RooflineArguments& a, Backend& backend, StepProfile& profile, const Machine& machine) {
  Measured m;
  const auto meter = energy_meter(machine.energy());
  if (meter != nullptr) m.energy_source = meter->source();
  for (uint32_t round = 0; round < a.rounds; ++round) {
    const double before = machine.bandwidth();
    const auto forget_the_first_run = [&](uint32_t done) {
      if (done == 0) profile = {.on = profile.on};
    };
    profile.on = machine.gpu == nullptr;  // there asking for parts takes time, so they are measured by themselves
    ASSIGN_OR_RETURN(auto decode, run_bench(backend, {.answer = a.tokens, .depth = a.depth}, 1, forget_the_first_run));
    m.decode.push_back(decode.median());
    if (meter != nullptr) {
      const StepProfile of_decode = profile;
      RETURN_IF_ERROR(measure_energy(a, backend, *meter, m));
      profile = of_decode;
    }
    if (!profile.on) {
      profile.on = true;
      ASSIGN_OR_RETURN(decode, run_bench(backend, {.answer = a.tokens, .depth = a.depth}, 1, forget_the_first_run));
    }
    for (size_t i = 0; i < kStepParts; ++i) m.profile.seconds[i] += profile.seconds[i];
    m.profile.steps += profile.steps;
    m.bandwidth.push_back(std::max(before, machine.bandwidth()));
    if (a.prompt == 0) continue;
    if (machine.gpu == nullptr) m.dot_peak = std::max(m.dot_peak, measure_dot_peak(machine.threads, 3));
    ASSIGN_OR_RETURN(const auto prefill, run_bench(backend, {.prompt = a.prompt}, 1));
    m.prefill.push_back(prefill.median());
  }
  return m;
}

/// Bytes that each part of a step reads, by StepPart.
std::array<double, kStepParts> bytes_by_part(const ModelWeights& weights, const TokenBytes& token) {
  std::array<double, kStepParts> bytes{};
  const auto add = [&](StepPart part, const IntegerMatrix& w) {
    bytes[static_cast<size_t>(part)] += static_cast<double>(w.data.size() + w.scales.size_bytes());
  };
  for (const auto& w : weights.layers) {
    for (const auto* m : {&w.attn_q, &w.attn_k, &w.attn_v}) add(StepPart::kQkv, *m);
    add(StepPart::kAttentionOutput, w.attn_output);
    for (const auto* m : {&w.ffn_gate, &w.ffn_up}) add(StepPart::kGateUp, *m);
    add(StepPart::kDown, w.ffn_down);
  }
  bytes[static_cast<size_t>(StepPart::kAttention)] = static_cast<double>(token.kv);
  bytes[static_cast<size_t>(StepPart::kHead)] = static_cast<double>(token.head);
  return bytes;
}

nlohmann::ordered_json describe(const RooflineArguments& a, const ModelWeights& weights, const Measured& m,
                                const Machine& machine) {
  const auto token = token_bytes(weights, *kv_type_by_name(a.model.kv), a.depth + a.tokens / 2);
  const double bandwidth = median(m.bandwidth), limit = bandwidth / static_cast<double>(token.total());
  const double decode = median(m.decode);
  std::vector<double> fractions;  // each round against its own bandwidth: shared machines change from minute to minute
  fractions.reserve(m.decode.size());
  for (size_t i = 0; i < m.decode.size(); ++i)
    fractions.push_back(m.decode[i] * static_cast<double>(token.total()) / m.bandwidth[i]);
  nlohmann::ordered_json root;
  root["device"] = machine.name;
  if (machine.gpu == nullptr) {
    root["isa"] = (*cpu::chosen_kernels())->name;
    root["threads"] = machine.threads;
  } else {
    root["gpu"] = machine.gpu->describe(machine.device).name;
  }
  root["kv"] = a.model.kv;
  root["depth"] = a.depth;
  root["bandwidth_gb_s"] = bandwidth / 1e9;
  root["bandwidth_seen_gb_s"] = nlohmann::json::array();
  for (const double b : m.bandwidth) root["bandwidth_seen_gb_s"].push_back(b / 1e9);
  root["token_bytes"] = {{"ternary", token.ternary},
                         {"head", token.head},
                         {"kv", token.kv},
                         {"other", token.other},
                         {"total", token.total()}};
  root["limit_tokens_s"] = limit;
  root["decode_tokens_s"] = decode;
  root["decode_seen_tokens_s"] = m.decode;
  root["token_fraction"] = median(fractions);
  root["token_fractions_seen"] = fractions;
  root["energy_source"] = m.energy_source.empty() ? nlohmann::json() : nlohmann::json(m.energy_source);
  root["joules_per_token"] = m.joules_a_token.empty() ? nlohmann::json() : nlohmann::json(median(m.joules_a_token));
  root["joules_per_token_seen"] = m.joules_a_token;
  const auto bytes = bytes_by_part(weights, token);
  for (size_t i = 0; i < kStepParts; ++i) {
    const double seconds = m.profile.seconds[i] / static_cast<double>(m.profile.steps);
    root["parts"][std::string(name_of(static_cast<StepPart>(i)))] = {
        {"us", seconds * 1e6}, {"bytes", bytes[i]}, {"fraction", bytes[i] / seconds / bandwidth}};
  }
  if (!m.prefill.empty()) {
    const double products = static_cast<double>(token.ternary_weights) * median(m.prefill);
    root["prefill"] = {{"tokens", a.prompt}, {"tokens_s", median(m.prefill)}, {"int8_products_s", products}};
    if (machine.gpu == nullptr) {
      root["prefill"]["int8_peak_s"] = m.dot_peak;
      root["prefill"]["fraction"] = products / m.dot_peak;
    }
  }
  for (const auto& [name, gigabytes] :
       {std::pair{"Strix Halo, 202 GB/s measured elsewhere", 202.0}, {"Strix Halo, 256 GB/s nominal", 256.0}}) {
    const double there = gigabytes * 1e9 / static_cast<double>(token.total());
    root["projected"][name] = {{"limit_tokens_s", there}, {"at_this_fraction_tokens_s", there * median(fractions)}};
  }
  return root;
}

void print_table(const nlohmann::ordered_json& r) {
  const auto number = [](const nlohmann::ordered_json& value) { return value.get<double>(); };
  const auto what = r.contains("gpu")
                        ? r["gpu"].get<std::string>()
                        : fmt::format("{}, {} threads", r["isa"].get<std::string>(), r["threads"].get<unsigned>());
  fmt::print("{}, {} KV, depth {}\n", what, r["kv"].get<std::string>(), r["depth"].get<unsigned>());
  fmt::print("read bandwidth   {:8.2f} GB/s\n", number(r["bandwidth_gb_s"]));
  const auto& b = r["token_bytes"];
  fmt::print("bytes a token    {:8.1f} MB: ternary {:.1f}, head {:.1f}, KV {:.1f}, other {:.1f}\n",
             number(b["total"]) / 1e6, number(b["ternary"]) / 1e6, number(b["head"]) / 1e6, number(b["kv"]) / 1e6,
             number(b["other"]) / 1e6);
  fmt::print("limit            {:8.2f} tok/s\n", number(r["limit_tokens_s"]));
  fmt::print("decode           {:8.2f} tok/s, {:.3f} of the limit\n", number(r["decode_tokens_s"]),
             number(r["token_fraction"]));
  if (!r["joules_per_token"].is_null())
    fmt::print("energy           {:8.3f} J a token, of all the device ({})\n", number(r["joules_per_token"]),
               r["energy_source"].get<std::string>());
  fmt::print("\n");
  for (const auto& [name, part] : r["parts"].items())
    fmt::print("  {:<14} {:9.1f} us {:9.2f} MB  {}\n", name, number(part["us"]), number(part["bytes"]) / 1e6,
               number(part["bytes"]) > 0 ? fmt::format("{:.3f}", number(part["fraction"])) : "");
  if (r.contains("prefill")) {
    const auto& p = r["prefill"];
    const auto peak = p.contains("fraction") ? fmt::format(" of {:.1f} at most, {:.3f} of that",
                                                           number(p["int8_peak_s"]) / 1e9, number(p["fraction"]))
                                             : std::string();
    fmt::print("\nprefill {}      {:8.2f} tok/s, {:.1f} G int8 products/s{}\n", p["tokens"].get<unsigned>(),
               number(p["tokens_s"]), number(p["int8_products_s"]) / 1e9, peak);
  }
  fmt::print("\nprojected, not measured:\n");
  for (const auto& [name, p] : r["projected"].items())
    fmt::print("  {:<40} limit {:.0f} tok/s, at this fraction {:.0f}\n", name, number(p["limit_tokens_s"]),
               number(p["at_this_fraction_tokens_s"]));
}

Status roofline(const RooflineArguments& a) {
  if (a.model.engine != "gen-2") return fail("--engine: a roofline is of gen-2");
  StepProfile profile;
  ASSIGN_OR_RETURN(auto model, a.model.open(&profile));
  ASSIGN_OR_RETURN(const auto machine, machine_of(model, a.model));
  ASSIGN_OR_RETURN(const auto weights,
                   bind_weights(model.file(), a.model.head == "bf16" ? HeadChoice::kEmbedding : HeadChoice::kStored));
  ASSIGN_OR_RETURN(const auto measured, measure(a, model.backend(), profile, machine));
  const auto root = describe(a, weights, measured, machine);
  if (a.json) {
    fmt::print("{}\n", root.dump(2));
  } else {
    print_table(root);
  }
  return {};
}

}  // namespace

void add_roofline(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<RooflineArguments>();
  auto* command = app.add_subcommand("roofline", "What this machine could do at most, and how much of it is reached");
  a->model.add_to(*command);
  command->add_option("-d,--n-depth", a->depth, "Positions held before the measured tokens")->capture_default_str();
  command->add_option("-n,--n-gen", a->tokens, "Tokens decoded a round")
      ->check(CLI::Range(1u, 4096u))
      ->capture_default_str();
  command->add_option("-p,--n-prompt", a->prompt, "Tokens of the measured prompt; 0: none")->capture_default_str();
  command->add_option("-r,--rounds", a->rounds, "Rounds: bandwidth and speed in turn")
      ->check(CLI::Range(1u, 1000u))
      ->capture_default_str();
  command->add_flag("--json", a->json, "Print one JSON object");
  command->footer(
      "The limit of decode is the best read bandwidth seen (several patterns and thread counts, beside each round) "
      "over\n"
      "the bytes that a token reads; that of prefill the peak of int8 products in registers.");
  command->callback([a, &exit_code] {
    if (auto status = roofline(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
