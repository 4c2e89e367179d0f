// DeviceEngine: buffers, and steps of many rows. Part of engine.inl.h.
#pragma once

namespace onebit::gpu {
namespace {

inline void DeviceEngine::make_buffers() {
  const auto& c = shape_;
  const uint64_t rows = options_.most_rows;
  const auto& w = layers_.front();
  qkv_rows_.k_first = w.attn_q.groups * kTileRows16;
  qkv_rows_.v_first = qkv_rows_.k_first + w.attn_k.groups * kTileRows16;
  qkv_rows_.stride = qkv_rows_.v_first + w.attn_v.groups * kTileRows16;
  x_ = arena_.device<float>(rows * c.hidden, outcome_);
  qkv_ = arena_.device<float>(rows * qkv_rows_.stride, outcome_);
  qkv_rows_.values = qkv_;
  attended_ = arena_.device<float>(rows * c.heads * c.head_dim, outcome_);
  h_ = arena_.device<float>(rows * c.ffn, outcome_);
  last_ = arena_.device<float>(uint64_t{kMostLogitsRows} * c.hidden, outcome_);
  logits_ = arena_.device<float>(uint64_t{kMostLogitsRows} * c.vocabulary, outcome_);
  uint32_t most = chunks_of(model_.head.blocks, kChunkUnits<Code::kQ8>) * kChunkColumns<Code::kQ8>;
  for (const auto* m : {&w.attn_q, &w.attn_output, &w.ffn_down})
    most = std::max({most, padded_blocks(m->blocks) * 20, chunks_of(m->blocks, 1) * kChunkColumns<Code::kT1_6>});
  q_.stride = (most + 127) / 128 * 128;
  q_.q = arena_.device<int8_t>((rows + 7) / 8 * 8 * q_.stride, outcome_);
  q_.s = arena_.device<float>(rows, outcome_);
  q_.sum = arena_.device<int32_t>(rows, outcome_);
  other_s_ = arena_.device<float>(rows, outcome_);
  other_sum_ = arena_.device<int32_t>(rows, outcome_);
  qkv_sums_.stride = qkv_rows_.stride;
  output_sums_.stride = w.attn_output.groups * kTileRows16;
  down_sums_.stride = w.ffn_down.groups * kTileRows16;
  for (auto* buffer : {&qkv_sums_, &output_sums_, &down_sums_})
    buffer->sums = arena_.device<int32_t>(rows * buffer->stride, outcome_);
  problems_ = arena_.device<Problems>(1, outcome_);
  picked_ = arena_.device<Picked>(uint64_t{kMostLogitsRows} * kMostPicked, outcome_);
  const uint64_t parts = (c.vocabulary + kPickPart - 1) / kPickPart;
  keys_ = arena_.device<uint64_t>(kMostLogitsRows * parts * kMostPicked, outcome_);
  arrived_ = arena_.device<uint32_t>(rows * c.kv_heads, outcome_);
  if (outcome_.ok()) fill_zero(arrived_, rows * c.kv_heads * sizeof(uint32_t), stream_, outcome_);
  // Rows of it are copied whole, however many of a row were wanted.
  if (outcome_.ok()) fill_zero(picked_, uint64_t{kMostLogitsRows} * kMostPicked * sizeof(Picked), stream_, outcome_);
  outbox_room_ = uint64_t{8} << 20;
  outbox_ = arena_.pinned<unsigned char>(outbox_room_, outcome_);
  answer_ = arena_.pinned<Answer>(1, outcome_);
  answer_picked_ = arena_.pinned<Picked>(uint64_t{kMostLogitsRows} * kMostPicked, outcome_);
  answer_logits_ = arena_.pinned<float>(c.vocabulary, outcome_);
}

inline void DeviceEngine::make_pages() {
  const auto pages_for_context = (shape_.context + kPagePositions - 1) / kPagePositions;
  model_.kv = kv_plan(shape_, options_.kv);
  Outcome told;
  const uint64_t available = device_properties(options_.device, told).free_bytes;
  uint64_t bytes = options_.kv_bytes;
  if (bytes == 0) bytes = std::min<uint64_t>(64 * pages_for_context * page_bytes(), available / 4);
  pages_ = static_cast<uint32_t>(std::max<uint64_t>(1, bytes / page_bytes()));
  model_.kv.pages = arena_.device<unsigned char>(pages_ * page_bytes(), outcome_);
  // What a sequence never wrote is read by nobody, but copied with its page.
  if (outcome_.ok()) fill_zero(model_.kv.pages, pages_ * page_bytes(), stream_, outcome_);
}

template <class T>
uint64_t DeviceEngine::put(std::span<const T> from) {
  // Far apart, so that a few elements more do not move what comes after.
  const uint64_t at = (outbox_used_ + 4095) / 4096 * 4096;
  outbox_used_ = at + from.size_bytes();
  if (outbox_used_ > outbox_room_) {
    unsigned char* old = outbox_;
    const uint64_t held = at;
    outbox_room_ = outbox_used_ * 2;
    outbox_ = arena_.pinned<unsigned char>(outbox_room_, outcome_);
    if (!outcome_.ok()) return 0;
    std::memcpy(outbox_, old, held);
  }
  if (!from.empty()) std::memcpy(outbox_ + at, from.data(), from.size_bytes());
  return at;
}

inline void DeviceEngine::send(const Step& step, const StepPlan& plan) {
  outbox_used_ = 0;
  const uint64_t rows = put(step.rows), sequences = put(step.sequences), pages = put(step.pages);
  const uint64_t tasks = put(std::span(plan.tasks)), tiles = put(std::span(plan.tiles));
  const uint64_t list = put(std::span(plan.row_list)), picks = put(step.picks);
  const unsigned char* to = sent_.reserve((outbox_used_ + 65535) / 65536 * 65536, stream_, outcome_);
  if (!outcome_.ok()) return;
  copy_to_device(const_cast<unsigned char*>(to), outbox_, outbox_used_, stream_, outcome_);
  view_ = {reinterpret_cast<const Row*>(to + rows), reinterpret_cast<const Sequence*>(to + sequences),
           reinterpret_cast<const uint32_t*>(to + pages)};
  tasks_ = reinterpret_cast<const AttendTask*>(to + tasks);
  tiles_ = reinterpret_cast<const AttendTile*>(to + tiles);
  row_list_ = reinterpret_cast<const uint32_t*>(to + list);
  wanted_ = reinterpret_cast<const uint32_t*>(to + picks);
}

inline TileLayout DeviceEngine::tile_layout_for(uint32_t warps) const {
  return tile_layout(options_.kv == KvFormat::kQ8, warps, shape_.head_dim, model_.kv.block_bytes);
}
/// Warps of a block that attends with many queries; 0: a head is too wide for that, or the shared memory too small.
inline uint32_t DeviceEngine::tile_warps() const {
  uint32_t warps = shape_.head_dim <= kTileDims ? kTileThreads / kWarp : 0;
  while (warps > 0 && tile_layout_for(warps).bytes > device_.shared_bytes) warps /= 2;
  return warps;
}

inline DeviceEngine::StepPlan DeviceEngine::plan_of(const Step& step) const {
  StepPlan plan;
  plan.row_list.resize(step.logits_rows);
  for (uint32_t i = 0; i < step.rows.size(); ++i)
    if (step.rows[i].logits >= 0) plan.row_list[static_cast<uint32_t>(step.rows[i].logits)] = i;
  const uint32_t warps = tile_warps();
  for (const auto& sequence : step.sequences) {
    const uint32_t end = sequence.first_row + sequence.rows, each = warps * kWarpQueries / group();
    plan.alone = plan.alone && sequence.rows == 1;
    if (sequence.rows > kFewRows && warps > 0) {
      for (uint32_t i = sequence.first_row; i < end; i += each) plan.tiles.push_back({i, std::min(each, end - i)});
      continue;
    }
    for (uint32_t i = sequence.first_row; i < end; ++i) {
      const uint32_t position = step.rows[i].position, blocks = position / kPagePositions + 1;
      for (uint32_t b = 0; b < blocks; ++b)
        plan.tasks.push_back({i, b, blocks, plan.parts, position, step.pages[sequence.first_page + b], {}});
      plan.parts += blocks;
    }
  }
  // In steps, so that the launches of one step of a batch serve the next ones, too.
  const size_t granule = std::max<size_t>(32, std::bit_floor(plan.tasks.size()) / 8);
  AttendTask none{};
  none.row = kNoRow;
  if (!plan.tasks.empty()) plan.tasks.resize((plan.tasks.size() + granule - 1) / granule * granule, none);
  // The longest first: those that come last should not be waited for.
  std::reverse(plan.tiles.begin(), plan.tiles.end());
  return plan;
}

template <class Call>
void DeviceEngine::with_code(Call call) {
  if (code_ == Code::kT2)
    call(std::integral_constant<Code, Code::kT2>{});
  else
    call(std::integral_constant<Code, Code::kT1_6>{});
}

template <class Call>
void DeviceEngine::with_format(Call call) {
  if (options_.kv == KvFormat::kF32)
    call(std::integral_constant<KvFormat, KvFormat::kF32>{});
  else if (options_.kv == KvFormat::kF16)
    call(std::integral_constant<KvFormat, KvFormat::kF16>{});
  else
    call(std::integral_constant<KvFormat, KvFormat::kQ8>{});
}

/// Rows of so many elements a thread holds in registers; of longer ones it has them in shared memory.
template <Code kCode>
void DeviceEngine::norm(const NormInput& in, const float* weight, uint32_t row_blocks, uint32_t rows,
                        const uint32_t* row_list, float* y, bool check) {
  const QuantizedRows before = q_;
  std::swap(q_.s, other_s_);
  std::swap(q_.sum, other_sum_);
  NormArgs args{};
  args.x = in.x;
  args.n = in.n;
  args.weight = weight;
  args.epsilon = shape_.rms_epsilon;
  if (in.added != nullptr) {
    args.added = rows_of(*in.added, before);
    args.matrix = *in.matrix;
  }
  args.out = q_;
  args.row_bytes = chunks_of(row_blocks, kChunkUnits<kCode>) * kChunkColumns<kCode>;
  args.row_list = row_list;
  args.y = y;
  args.problems = check ? problems_ : nullptr;
  if (in.cleared != nullptr) {
    args.clear = in.cleared->sums;
    args.clear_stride = in.cleared->stride;
  }
  const auto go = [&](auto each) {
    const auto kernel = &norm_rows<kCode, each.value>;
    const uint64_t shared = sizeof(RowScratch) + args.row_bytes + (each.value == 0 ? uint64_t{in.n} * 8 : 0);
    if (shared > (48 << 10)) allow_shared(kernel, shared, outcome_);
    launch(kernel, {rows, kRowThreads, shared, false, true}, stream_, outcome_, args);
  };
  if (in.n <= 12 * kRowThreads)
    go(std::integral_constant<uint32_t, 12>{});
  else if (in.n <= 28 * kRowThreads)
    go(std::integral_constant<uint32_t, 28>{});
  else
    go(std::integral_constant<uint32_t, 0>{});
}

inline ProductRows DeviceEngine::rows_of(const ProductBuffer& buffer, const QuantizedRows& x) const {
  return {buffer.sums, buffer.stride, x.s, x.sum, buffer.splits > 1 ? 1u : 0u};
}

/// How many times a product's columns are divided: so that its blocks of threads fill the device, in the last wave too.
/// Sums that are added up cost a block as much time as some units of columns; by how many tokens it has, that was
/// measured.
inline uint32_t DeviceEngine::splits_of(uint32_t blocks, uint32_t chunks, bool many_tokens) const {
  uint32_t best = 1;
  double least = 0;
  for (uint32_t splits = 1; splits <= 8 && splits * 4 <= chunks + 3; ++splits) {
    const uint32_t waves = (blocks * splits + device_.multiprocessors - 1) / device_.multiprocessors;
    const double columns = static_cast<double>(chunks) / splits;
    const double time =
        many_tokens ? waves * (columns + (splits > 1 ? 3.5 : 0)) : waves * columns + 0.02 * splits * chunks;
    if (splits == 1 || time < least) best = splits, least = time;
  }
  return best;
}

/// Stages of shared memory: as many as are of use, less so that two blocks fit on a multiprocessor; 0: too few fit.
template <Code kCode, uint32_t kTiles, uint32_t kParts>
uint32_t DeviceEngine::stages_for() const {
  const auto fit = [&](uint64_t bytes) {
    constexpr uint64_t kBefore = kBeforeStages<kCode, kTiles>;
    return bytes <= kBefore ? 0 : static_cast<uint32_t>((bytes - kBefore) / kStageBytes<kCode, kTiles, kParts>);
  };
  const uint32_t alone = fit(device_.shared_bytes), beside = fit(device_.shared_bytes / 2 - 512);
  const uint32_t stages = std::min(kMostStages, kTiles < 16 && beside >= 3 ? beside : alone);
  return stages < 2 ? 0 : stages;
}

template <Code kCode, Finish kFinish, uint32_t kTiles, uint32_t kParts>
void DeviceEngine::launch_products(ProductArgs& args) {
  args.stages = stages_for<kCode, kTiles, kParts>();
  const uint64_t shared = kBeforeStages<kCode, kTiles> + args.stages * kStageBytes<kCode, kTiles, kParts>;
  const auto kernel = &products<kCode, kTiles, kParts, kFinish>;
  if (shared > (48 << 10)) allow_shared(kernel, shared, outcome_);
  launch(kernel, {product_blocks<kFinish, kTiles, kParts>(args) * args.splits, kProductThreads, shared, false, true},
         stream_, outcome_, args);
}

template <Finish kFinish, uint32_t kTiles, uint32_t kParts>
uint32_t DeviceEngine::product_blocks(const ProductArgs& args) {
  constexpr uint32_t kEach = kFinish == Finish::kGate ? kProductGroups<kParts> / 2 : kProductGroups<kParts>;
  return (args.groups + kEach - 1) / kEach * ((args.tokens + kTiles * 8 - 1) / (kTiles * 8));
}

/// Tiles of 16 or 64 tokens for few rows, whose columns the teams of a block divide, of 128 for many; of 16 where
/// there is no room for more.
template <Code kCode>
uint32_t DeviceEngine::tile_tokens(uint32_t rows) const {
  if (rows > kFewTokens && stages_for<kCode, 16, 1>() > 0) return 128;
  return rows > 16 && stages_for<kCode, 8, 2>() > 0 ? 64 : 16;
}

template <Code kCode, Finish kFinish>
void DeviceEngine::multiply(std::initializer_list<const DeviceMatrix*> matrices, uint32_t rows, const Product& to) {
  ProductArgs args{};
  for (const auto* m : matrices) {
    args.matrix[args.matrices++] = *m;
    args.groups += m->groups;
  }
  if (kFinish == Finish::kGate) args.groups = args.matrix[0].groups;
  args.x = q_;
  args.tokens = rows;
  args.y = to.y;
  args.y_stride = to.stride;
  args.splits = 1;
  if (to.buffer != nullptr) {
    args.sums = to.buffer->sums;
    args.y_stride = to.buffer->stride;
    args.splits = to.buffer->splits;
  }
  const uint32_t tokens = tile_tokens<kCode>(rows);
  if (tokens == 16)
    launch_products<kCode, kFinish, 2, 2>(args);
  else if (tokens == 64)
    launch_products<kCode, kFinish, 8, 2>(args);
  else
    launch_products<kCode, kFinish, 16, 1>(args);
}

/// Before a step: how its products are divided, and zeros where they are.
inline void DeviceEngine::plan_products(uint32_t rows) {
  const auto& w = layers_.front();
  const auto plan = [&](ProductBuffer& buffer, uint32_t groups, uint32_t blocks) {
    uint32_t tokens = 0;
    with_code([&](auto code) { tokens = tile_tokens<code.value>(rows); });
    const uint32_t each = tokens == 128 ? kProductGroups<1> : kProductGroups<2>;
    buffer.splits = splits_of((groups + each - 1) / each * ((rows + tokens - 1) / tokens),
                              (blocks + kUnitBlocks - 1) / kUnitBlocks, tokens == 128);
    if (buffer.splits > 1) fill_zero(buffer.sums, uint64_t{rows} * buffer.stride * 4, stream_, outcome_);
  };
  plan(qkv_sums_, w.attn_q.groups + w.attn_k.groups + w.attn_v.groups, w.attn_q.blocks);
  plan(output_sums_, w.attn_output.groups, w.attn_output.blocks);
  plan(down_sums_, w.ffn_down.groups, w.ffn_down.blocks);
}

template <KvFormat kFormat>
void DeviceEngine::attention_of(uint32_t i, const Step& step, const StepPlan& plan) {
  const auto& c = shape_;
  const auto rows = static_cast<uint32_t>(step.rows.size());
  const auto& w = layers_[i];
  const PlaceArgs place{
      c,         model_.kv,       view_,           rows, rows_of(qkv_sums_, q_), {w.attn_q, w.attn_k, w.attn_v},
      qkv_rows_, model_.rope_cos, model_.rope_sin, i};
  const auto place_by = [&](auto each) {
    const auto kernel = &place_rows<kFormat, each.value>;
    const uint64_t shared = uint64_t{2} * each.value * c.kv_heads * c.head_dim * 4;
    if (shared > (48 << 10)) allow_shared(kernel, shared, outcome_);
    launch(kernel, {(rows + each.value - 1) / each.value, kRowThreads, shared, false, true}, stream_, outcome_, place);
  };
  if (plan.alone) {  // attention does it
  } else if (rows > kFewTokens && uint64_t{8} * c.kv_heads * c.head_dim * 4 <= device_.shared_bytes) {
    place_by(std::integral_constant<uint32_t, 4>{});
  } else {
    place_by(std::integral_constant<uint32_t, 1>{});
  }
  if (!plan.tiles.empty()) {
    const uint32_t warps = tile_warps(), bytes = tile_layout_for(warps).bytes;
    const auto kernel = c.head_dim == kTileDims ? &attend_tiles<kFormat, kTileDims> : &attend_tiles<kFormat, 0>;
    if (bytes > (48 << 10)) allow_shared(kernel, bytes, outcome_);
    launch(kernel, {static_cast<uint32_t>(plan.tiles.size()) * c.kv_heads, warps * kWarp, bytes, false, true}, stream_,
           outcome_, TileArgs{c, model_.kv, view_, qkv_rows_, i, tiles_, attended_});
  }
  if (plan.tasks.empty()) return;
  constexpr uint64_t kMostStaged = 100 << 10;
  const uint32_t staged = attend_layout(options_.kv == KvFormat::kQ8, group(), c.head_dim, model_.kv.block_bytes).bytes;
  const bool stage = staged <= std::min<uint64_t>(device_.shared_bytes, kMostStaged);
  const uint32_t bytes = stage ? staged : attend_layout(options_.kv == KvFormat::kQ8, group(), c.head_dim, 0).bytes;
  const auto kernel = stage && c.head_dim == kTileDims ? &attend_rows<kFormat, kTileDims> : &attend_rows<kFormat, 0>;
  if (bytes > (48 << 10)) allow_shared(kernel, bytes, outcome_);
  launch(kernel, {static_cast<uint32_t>(plan.tasks.size()) * c.kv_heads, kAttendThreads, bytes, false, true}, stream_,
         outcome_, AttendArgs{place, tasks_, parts_, arrived_, attended_, plan.alone ? 1u : 0u, stage ? 1u : 0u});
}

template <Code kCode>
void DeviceEngine::layer_of(uint32_t i, const Step& step, const StepPlan& plan) {
  const auto& c = shape_;
  const auto& w = layers_[i];
  const auto rows = static_cast<uint32_t>(step.rows.size());
  const bool first = i == 0;
  norm<kCode>({x_, c.hidden, first ? nullptr : &down_sums_, first ? nullptr : &layers_[i - 1].ffn_down}, w.attn_norm,
              w.attn_q.blocks, rows, nullptr, nullptr, false);
  multiply<kCode, Finish::kSums>({&w.attn_q, &w.attn_k, &w.attn_v}, rows, {.buffer = &qkv_sums_});
  with_format([&](auto format) { attention_of<format.value>(i, step, plan); });
  const bool clears = plan.alone && qkv_sums_.splits > 1;
  norm<kCode>({attended_, c.heads * c.head_dim, nullptr, nullptr, clears ? &qkv_sums_ : nullptr}, w.attn_sub_norm,
              w.attn_output.blocks, rows, nullptr, nullptr, false);
  multiply<kCode, Finish::kSums>({&w.attn_output}, rows, {.buffer = &output_sums_});
  norm<kCode>({x_, c.hidden, &output_sums_, &w.attn_output}, w.ffn_norm, w.ffn_gate.blocks, rows, nullptr, nullptr,
              false);
  multiply<kCode, Finish::kGate>({&w.ffn_gate, &w.ffn_up}, rows, {h_, c.ffn});
  norm<kCode>({h_, c.ffn}, w.ffn_sub_norm, w.ffn_down.blocks, rows, nullptr, nullptr, false);
  multiply<kCode, Finish::kSums>({&w.ffn_down}, rows, {.buffer = &down_sums_});
}

inline void DeviceEngine::run_batch(const Step& step) {
  const auto plan = plan_of(step);
  const auto& c = shape_;
  // Of padded tasks, as the step's key has them: where l begins must not change while a graph is used again.
  const uint64_t slots = std::max<uint64_t>(plan.parts, plan.tasks.size()) * c.heads;
  float* both = part_ml_.reserve(2 * slots, stream_, outcome_);
  parts_ = {part_o_.reserve(slots * c.head_dim, stream_, outcome_), both, both + slots};
  send(step, plan);
  const StepKey key{step.rows.size(), step.logits_rows, plan.tasks.size(), plan.tiles.size(), plan.alone, view_,
                    tasks_,           tiles_,           row_list_,         wanted_,           parts_.o,   parts_.l};
  const bool known = graph_ != nullptr && key == graph_key_, again = key == last_key_;
  last_key_ = key;
  if (known) return launch_graph(graph_, stream_, outcome_);
  // What comes a second time comes more often. Of long steps the launches are no burden.
  if (!again || step.rows.size() > kFewTokens) return launch_step(step, plan);
  free_graph(graph_);
  graph_ = nullptr;
  begin_graph(stream_, outcome_);
  if (!outcome_.ok()) return;
  launch_step(step, plan);
  graph_ = end_graph(stream_, outcome_);
  graph_key_ = key;
  if (outcome_.ok()) launch_graph(graph_, stream_, outcome_);
}

/// A step as launches; they depend on nothing but its StepKey.
inline void DeviceEngine::launch_step(const Step& step, const StepPlan& plan) {
  const auto& c = shape_;
  fill_zero(problems_, sizeof(Problems), stream_, outcome_);
  const auto rows = static_cast<uint32_t>(step.rows.size());
  plan_products(rows);
  launch(&embed_rows, {rows, kRowThreads, 0}, stream_, outcome_, model_.embedding, view_, c.hidden, x_);
  for (uint32_t i = 0; i < c.layers; ++i) with_code([&](auto code) { layer_of<code.value>(i, step, plan); });
  launch(&finish_rows, {rows, kRowThreads, 0, false, true}, stream_, outcome_,
         FinishArgs{x_, c.hidden, rows_of(down_sums_, q_), layers_.back().ffn_down, problems_});
  if (step.logits_rows > 0) run_head(step);
}

inline void DeviceEngine::run_head(const Step& step) {
  const auto& c = shape_;
  norm<Code::kQ8>({x_, c.hidden}, model_.output_norm, model_.head.blocks, step.logits_rows, row_list_, last_, true);
  if (model_.half_head == nullptr) {
    multiply<Code::kQ8, Finish::kStore>({&model_.head}, step.logits_rows, {logits_, c.vocabulary});
  } else {
    const uint64_t tasks = uint64_t{step.logits_rows} * c.vocabulary;
    launch(
        &half_products, {static_cast<uint32_t>((tasks + kProductWarps - 1) / kProductWarps), kProductThreads, 0},
        stream_, outcome_,
        HalfHeadArgs{model_.half_head, model_.half_is_bf16, c.vocabulary, c.hidden, last_, step.logits_rows, logits_});
  }
  pick(step);
}

/// Checks all logits, and picks where that is wanted.
inline void DeviceEngine::pick(const Step& step) {
  const uint32_t parts = (shape_.vocabulary + kPickPart - 1) / kPickPart;
  const PickArgs args{logits_, shape_.vocabulary, parts, wanted_, keys_, picked_, problems_};
  const uint64_t shared = (2 * (kPickThreads / kWarp) + kMostPicked) * sizeof(uint64_t);
  launch(&pick_parts, {step.logits_rows * parts, kPickThreads, shared}, stream_, outcome_, args);
  launch(&pick_rows, {step.logits_rows, kPickThreads, shared}, stream_, outcome_, args);
}

}  // namespace
}  // namespace onebit::gpu
