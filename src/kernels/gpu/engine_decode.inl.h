// DeviceEngine: steps of one row, results, and the module's entry. Part of engine.inl.h.
#pragma once

namespace onebit::gpu {
namespace {

/// How a block of threads divides its shared memory; what is left after the rest holds weights ahead of their use.
inline void DeviceEngine::plan_decode() {
  const auto& c = shape_;
  for (const auto& layer : layers_)  // one scale a product
    for (const auto* m : {&layer.attn_q, &layer.attn_k, &layer.attn_v, &layer.attn_output, &layer.ffn_gate,
                          &layer.ffn_up, &layer.ffn_down})
      if (m->scales != nullptr) return;
  const uint64_t widest = std::max({c.hidden, c.heads * c.head_dim, c.ffn});
  if (widest > kMostOfRow * kDecodeThreads) return;
  divide_decode();
  auto& d = decode_;
  uint64_t used = 0;
  const auto room = [&](uint64_t bytes) {
    const auto at = static_cast<uint32_t>(used);
    used += (bytes + 127) / 128 * 128;
    return at;
  };
  uint32_t groups = 0;  // of a block, at most
  for (uint32_t i = 0; i < kSlots; ++i)
    groups = std::max(groups, (d.slots[i].each + (d.slots[i].more > 0 ? 1 : 0)) * (i == kGateUp ? 2 : 1));
  room(sizeof(DecodeState));
  d.x_offset = room(uint64_t{c.hidden} * 4);
  d.q_offset = room(q_.stride);
  d.table_offset = room(code_ == Code::kT1_6 ? kTritTableBytes : 0);
  d.places_offset = room(code_ == Code::kT1_6 ? widest * 2 : 0);
  d.sums_offset = room(uint64_t{groups} * kTileRows16 * 4);
  d.attend_offset = room(4 * std::max<uint64_t>(heads_shared_floats(group(), c.head_dim),
                                                fold_shared_floats(c.context / kPagePositions + 1)));
  // The head's sums stand where the layers' weights were, or its norm.
  const uint64_t head_groups = model_.half_head == nullptr ? model_.head.groups / decode_blocks_ + 1 : 0;
  const uint64_t after = std::max(head_groups * kTileRows16, uint64_t{c.hidden}) * 4;
  const uint64_t limit = device_.shared_bytes;
  d.kv_offset = room(model_.kv.block_bytes);
  if (used + after + kUnitBytes > limit) return;
  d.slots_offset = static_cast<uint32_t>(used);
  d.slots_bytes = static_cast<uint32_t>(std::max(after, std::min(limit - used - kUnitBytes, weights_of_block())));
  used += d.slots_bytes + kUnitBytes;  // a unit that is not whole is read as one
  with_code([&](auto code) {
    with_format([&](auto format) {
      const auto kernel = &decode<code.value, format.value>;
      allow_shared(kernel, used, outcome_);
      if (resident_blocks(kernel, kDecodeThreads, used, outcome_) == 0) used = 0;
    });
  });
  if (used == 0 || !outcome_.ok()) return;
  decode_shared_ = used;
  make_decode_buffers();
}

/// Blocks and their rows. Every block has some of each product: decode.inl.h says why. Those that have a group more of
/// one product are not those that have one more of another, as far as that goes.
inline void DeviceEngine::divide_decode() {
  const auto& w = layers_.front();
  const uint32_t groups[kSlots] = {w.attn_q.groups + w.attn_k.groups + w.attn_v.groups, w.attn_output.groups,
                                   w.ffn_gate.groups, w.ffn_down.groups};
  decode_.q_groups = w.attn_q.groups;
  decode_.qk_groups = w.attn_q.groups + w.attn_k.groups;
  decode_blocks_ = device_.multiprocessors;
  for (const uint32_t n : groups) decode_blocks_ = std::min(decode_blocks_, n);
  uint32_t turn = 0;
  for (uint32_t i = 0; i < kSlots; ++i) {
    decode_.slots[i] = {groups[i] / decode_blocks_, groups[i] % decode_blocks_, turn};
    turn = (turn + decode_.slots[i].more) % decode_blocks_;
  }
}

/// Bytes of a layer's weights that one block has, at most.
inline uint64_t DeviceEngine::weights_of_block() const {
  const auto& w = layers_.front();
  const uint64_t bytes[kSlots] = {w.attn_q.blocks, w.attn_output.blocks, uint64_t{2} * w.ffn_gate.blocks,
                                  w.ffn_down.blocks};
  uint64_t most = 0;
  for (uint32_t block = 0; block < decode_blocks_; ++block) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < kSlots; ++i) {
      const SlotPlan& s = decode_.slots[i];
      const uint32_t turn = (block + decode_blocks_ - s.turn) % decode_blocks_;
      all += bytes[i] * kBlockSize * (s.each + (turn < s.more ? 1 : 0));
    }
    most = std::max(most, all);
  }
  return most;
}

inline void DeviceEngine::make_decode_buffers() {
  const auto& c = shape_;
  const auto& w = layers_.front();
  auto& d = decode_;
  const uint64_t qkv = qkv_rows_.stride, attended = uint64_t{c.heads} * c.head_dim,
                 wide = uint64_t{w.ffn_gate.groups} * kTileRows16,
                 output = uint64_t{w.attn_output.groups} * kTileRows16,
                 down = uint64_t{w.ffn_down.groups} * kTileRows16;
  decode_tagged_ = qkv + attended + output + wide + down;
  d.qkv = arena_.device<Tagged>(decode_tagged_, outcome_);
  auto* words = arena_.device<uint64_t>(2, outcome_);  // the ticket; the best logit
  times_ = arena_.device<uint64_t>(c.layers * 5 + 2, outcome_);
  if (!outcome_.ok()) return;
  fill_zero(words, 16, stream_, outcome_);
  d.model = model_;
  d.attended = d.qkv + qkv;
  d.output = d.attended + attended;
  d.gated = d.output + output;
  d.down = d.gated + wide;
  d.ticket = reinterpret_cast<uint32_t*>(words);
  d.best = words + 1;
  d.normed = attended_;
  d.problems = problems_;
  d.logits = logits_;
  d.answer = answer_;
  d.split_kv = options_.split_kv || decode_blocks_ < c.kv_heads ? 1 : 0;
  forget_tags();
}

/// Tags begin anew at 1: nothing has them.
inline void DeviceEngine::forget_tags() {
  const uint64_t parts = uint64_t{shape_.heads} * decode_room_ * (shape_.head_dim + 2);
  fill_zero(decode_.qkv, decode_tagged_ * sizeof(Tagged), stream_, outcome_);
  if (parts > 0) fill_zero(decode_.parts, parts * sizeof(Tagged), stream_, outcome_);
  decode_.tag = 1;
}

inline bool DeviceEngine::decodes(const Step& step) const {
  return decode_shared_ > 0 && step.rows.size() == 1;
}

template <Code kCode, KvFormat kFormat>
void DeviceEngine::launch_decode() {
  launch(&decode<kCode, kFormat>, {decode_blocks_, kDecodeThreads, decode_shared_, true}, stream_, outcome_, decode_);
}

inline void DeviceEngine::run_decode(const Step& step) {
  const auto& c = shape_;
  auto& d = decode_;
  const Row& row = step.rows.front();
  const uint32_t blocks = row.position / kPagePositions + 1;
  if (blocks > decode_room_) {
    const uint32_t room = std::max(blocks, std::min(2 * blocks, (c.context + kPagePositions - 1) / kPagePositions));
    const uint64_t parts = uint64_t{c.heads} * room;
    decode_room_ = 0;  // should there be no memory
    d.parts = decode_parts_.reserve(parts * (c.head_dim + 2), stream_, outcome_);
    if (!outcome_.ok()) return;
    d.part_scales = d.parts + parts * c.head_dim;
    d.part_stride = room;
    decode_room_ = room;
    forget_tags();
  }
  if (d.tag > 0xffffffffu - 2 * c.layers) forget_tags();
  d.token = static_cast<uint32_t>(row.token);
  d.position = row.position;
  d.pages = nullptr;
  if (step.pages.size() <= kInlinePages) {
    std::copy(step.pages.begin(), step.pages.end(), d.page_list);
  } else {
    outbox_used_ = 0;
    put(step.pages);
    uint32_t* pages = decode_pages_.reserve((step.pages.size() + 1023) / 1024 * 1024, stream_, outcome_);
    copy_to_device(pages, outbox_, step.pages.size_bytes(), stream_, outcome_);
    d.pages = pages;
  }
  const bool picks_one = step.logits_rows == 1 && step.picks[0] == 1 && model_.half_head == nullptr;
  d.wants_logits = step.logits_rows == 0 ? 0 : picks_one ? 1 : 2;
  d.times = measuring_ ? times_ : nullptr;
  with_code([&](auto code) { with_format([&](auto format) { launch_decode<code.value, format.value>(); }); });
  d.tag += c.layers;
  if (step.logits_rows == 0 || picks_one) return;
  if (model_.half_head != nullptr)
    launch(&half_products, {(c.vocabulary + kProductWarps - 1) / kProductWarps, kProductThreads, 0}, stream_, outcome_,
           HalfHeadArgs{model_.half_head, model_.half_is_bf16, c.vocabulary, c.hidden, attended_, 1, logits_});
  if (model_.half_head == nullptr && step.picks[0] == 0) return;  // the head has checked its logits
  outbox_used_ = 0;
  put(step.picks);
  unsigned char* to = sent_.reserve(65536, stream_, outcome_);
  copy_to_device(to, outbox_, step.picks.size_bytes(), stream_, outcome_);
  wanted_ = reinterpret_cast<const uint32_t*>(to);
  pick(step);
}

/// The logit that a key orders.
inline Picked picked_of(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  const uint32_t bits = (ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered;
  Picked p{static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key & 0xffffffffu)), 0.0f};
  std::memcpy(&p.logit, &bits, 4);
  return p;
}

inline Failure DeviceEngine::take_results(const Step& step) {
  const auto& c = shape_;
  const bool best_is_enough = decodes(step) && decode_.wants_logits == 1;
  // What decode finds it writes to the host's memory itself; other kernels may have found more.
  if (!best_is_enough) copy_to_host(&answer_->problems, problems_, sizeof(Problems), stream_, outcome_);
  bool picks = false;
  for (const uint32_t wanted : step.picks) picks = picks || wanted > 0;
  picks = picks && !best_is_enough;
  if (picks) copy_to_host(answer_picked_, picked_, step.logits_rows * kMostPicked * sizeof(Picked), stream_, outcome_);
  float* out = step.logits;
  for (uint32_t i = 0; i < step.logits_rows; ++i)
    if (step.picks[i] == 0) {
      // By way of pinned memory: a copy to memory that may move waits in the driver for longer than it takes.
      copy_to_host(answer_logits_, logits_ + uint64_t{i} * c.vocabulary, uint64_t{c.vocabulary} * 4, stream_, outcome_);
      wait_for(stream_, outcome_);
      if (outcome_.ok()) std::memcpy(out, answer_logits_, uint64_t{c.vocabulary} * 4);
      out += c.vocabulary;
    }
  wait_for(stream_, outcome_);
  if (!outcome_.ok()) return {};
  if (answer_->problems.residual != 0) return {Failure::Kind::kResidual, {}};
  if (step.logits_rows > 0 && answer_->problems.logits != 0) return {Failure::Kind::kLogits, {}};
  if (best_is_enough) step.picked[0] = picked_of(answer_->best);
  if (picks) std::copy_n(answer_picked_, step.logits_rows * kMostPicked, step.picked);
  return {};
}

inline void DeviceEngine::take_timings() {
  timings_.clear();
  const uint32_t layers = shape_.layers;
  std::vector<uint64_t> t(uint64_t{layers} * 5 + 2);
  copy_to_host(t.data(), times_, t.size() * 8, stream_, outcome_);
  wait_for(stream_, outcome_);
  if (!outcome_.ok()) return;
  const char* parts[5] = {"qkv", "attention", "attn_output", "gate_up", "down"};
  for (uint32_t p = 0; p < 5; ++p) {
    Timing sum{parts[p], 0};
    for (uint32_t i = 0; i < layers; ++i) sum.seconds += static_cast<double>(t[i * 5 + p + 1] - t[i * 5 + p]) * 1e-9;
    timings_.push_back(sum);
  }
  timings_.push_back({"head", static_cast<double>(t[layers * 5 + 1] - t[layers * 5]) * 1e-9});
}

inline Failure DeviceEngine::step(const Step& step) {
  use_device(options_.device, outcome_);
  const bool one = decodes(step);
  if (one)
    run_decode(step);
  else
    run_batch(step);
  Failure failure = take_results(step);
  if (outcome_.ok() && one && measuring_) take_timings();
  if (outcome_.ok()) return failure;
  failure = {outcome_.out_of_memory() ? Failure::Kind::kNoMemory : Failure::Kind::kDevice, outcome_.text()};
  if (outcome_.out_of_memory()) outcome_.clear();  // the device is sound; a smaller step may pass
  return failure;
}

inline Engine* create_engine(const ModelView& model, const EngineOptions& options, Failure& failure) {
  if (const auto why = unfit(model); !why.empty()) {
    failure = {Failure::Kind::kUnfit, why};
    return nullptr;
  }
  auto engine = std::make_unique<DeviceEngine>(model, options);
  if (engine->outcome().ok()) return engine.release();
  failure = {engine->outcome().out_of_memory() ? Failure::Kind::kNoMemory : Failure::Kind::kDevice,
             engine->outcome().text()};
  return nullptr;
}

/// Every thread reads 16 bytes of each row of the grid.
GPU_KERNEL(kDecodeThreads, 1)
read_all(const unsigned char* from, uint64_t bytes, uint32_t* out) {
  uint32_t sum = 0;
  const uint64_t step = uint64_t{blocks()} * kDecodeThreads * 16;
  GPU_UNROLL(8)
  for (uint64_t at = (uint64_t{block()} * kDecodeThreads + thread()) * 16; at < bytes; at += step) {
    const uint4 v = load_stream(from + at);
    sum += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678u) *out = sum;  // so that the loads are not for nothing
}

inline double read_bandwidth(int device) {
  Outcome outcome;
  use_device(device, outcome);
  const auto p = device_properties(device, outcome);
  const uint64_t bytes = std::min<uint64_t>(uint64_t{1} << 30, p.free_bytes / 2) / 4096 * 4096;
  Arena arena;
  auto* data = arena.device<unsigned char>(bytes, outcome);
  auto* out = arena.device<uint32_t>(1, outcome);
  const Stream stream = new_stream(outcome);
  const Event begin = new_event(outcome), end = new_event(outcome);
  if (outcome.ok()) fill_zero(data, bytes, stream, outcome);
  double best = 0;
  for (int i = 0; i < 8 && outcome.ok(); ++i)
    for (const uint32_t each : {1u, 2u, 4u}) {
      record(begin, stream, outcome);
      launch(&read_all, {p.multiprocessors * each, kDecodeThreads, 0}, stream, outcome,
             static_cast<const unsigned char*>(data), bytes, out);
      record(end, stream, outcome);
      wait_for(stream, outcome);
      const double seconds = seconds_between(begin, end, outcome);
      if (outcome.ok() && seconds > 0) best = std::max(best, static_cast<double>(bytes) / seconds);
    }
  end_event(begin);
  end_event(end);
  end_stream(stream);
  return outcome.ok() ? best : 0;
}

inline DeviceInfo describe_device(int device) {
  Outcome outcome;
  use_device(device, outcome);
  const auto p = device_properties(device, outcome);
  return {p.name, p.architecture, p.memory_bytes, p.free_bytes};
}

}  // namespace
}  // namespace onebit::gpu
