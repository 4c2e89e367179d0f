// A model on one device: buffers, and a step as launches of kernels.
#pragma once

#include "kernels/gpu/attention_tile.inl.h"
#include "kernels/gpu/decode.inl.h"
#include "kernels/gpu/memory.inl.h"
#include "kernels/gpu/pick.inl.h"

namespace onebit::gpu {
namespace {

/// Rows of logits of one step.
inline constexpr uint32_t kMostLogitsRows = 128;
/// Up to so many rows products take tiles of few.
inline constexpr uint32_t kFewTokens = 256;
/// Up to so many rows of a sequence its attention is divided over blocks of positions, beyond over rows.
inline constexpr uint32_t kFewRows = 4;

class DeviceEngine final : public Engine {
 public:
  DeviceEngine(const ModelView& view, const EngineOptions& options) : options_(options), shape_(view.shape) {
    use_device(options.device, outcome_);
    device_ = device_properties(options.device, outcome_);
    stream_ = new_stream(outcome_);
    {
      if (options.in_place && device_.integrated) file_.map(view.file, options.device);
      ModelUpload upload(arena_, file_, stream_, outcome_);
      model_ = upload.model(view, layers_);
    }
    code_ = view.layers.front().attn_q.code;
    make_buffers();
    make_pages();
    if (outcome_.ok()) plan_decode();
    wait_for(stream_, outcome_);
  }
  DeviceEngine(const DeviceEngine&) = delete;
  DeviceEngine& operator=(const DeviceEngine&) = delete;
  ~DeviceEngine() override {
    free_graph(graph_);
    end_stream(stream_);
  }

  const Outcome& outcome() const { return outcome_; }
  std::string device_name() const override { return device_.name; }
  uint32_t pages() const override { return pages_; }
  uint64_t page_bytes() const override { return model_.kv.page_bytes; }
  void measure(bool on) override { measuring_ = on; }
  std::vector<Timing> timings() const override { return timings_; }

  void copy_page(uint32_t from, uint32_t to) override {
    use_device(options_.device, outcome_);
    copy_on_device(model_.kv.pages + to * page_bytes(), model_.kv.pages + from * page_bytes(), page_bytes(), stream_,
                   outcome_);
  }

  Failure step(const Step& step) override;

 private:
  /// What a step's kernels are told besides its rows.
  struct StepPlan {
    std::vector<AttendTask> tasks;   // of sequences with few rows
    std::vector<AttendTile> tiles;   // of the others
    std::vector<uint32_t> row_list;  // of each row of logits
    uint32_t parts = 0;
    bool alone = true;  // each row is its sequence's only one
  };

  /// All that a step's launches depend on.
  struct StepKey {
    uint64_t rows = 0, logits_rows = 0, tasks = 0, tiles = 0;
    bool alone = false;
    StepView view{};
    const AttendTask* task_list = nullptr;
    const AttendTile* tile_list = nullptr;
    const uint32_t *row_list = nullptr, *wanted = nullptr;
    const float *parts = nullptr, *part_sums = nullptr;
    bool operator==(const StepKey&) const = default;
  };

  void make_buffers();
  void make_pages();
  void plan_decode();
  void divide_decode();
  uint64_t weights_of_block() const;
  void make_decode_buffers();
  void forget_tags();
  bool decodes(const Step& step) const;
  void run_decode(const Step& step);
  void run_batch(const Step& step);
  void launch_step(const Step& step, const StepPlan& plan);
  StepPlan plan_of(const Step& step) const;
  TileLayout tile_layout_for(uint32_t warps) const;
  uint32_t tile_warps() const;
  void run_head(const Step& step);
  void pick(const Step& step);
  Failure take_results(const Step& step);
  void take_timings();

  /// Puts an array with those that go to the device together; its offset there.
  template <class T>
  uint64_t put(std::span<const T> from);
  void send(const Step& step, const StepPlan& plan);

  /// Sums that products leave for the kernels after them.
  struct ProductBuffer {
    int32_t* sums = nullptr;  // [rows][stride]
    uint32_t stride = 0;
    uint32_t splits = 1;  // of this step's product
  };
  /// Rows [rows][n], and what is to be added to them.
  struct NormInput {
    float* x;
    uint32_t n;
    const ProductBuffer* added = nullptr;
    const DeviceMatrix* matrix = nullptr;    // that it is of
    const ProductBuffer* cleared = nullptr;  // whose sums have been read
  };
  /// Where a product goes: finished, or its sums.
  struct Product {
    float* y = nullptr;
    uint64_t stride = 0;
    const ProductBuffer* buffer = nullptr;
  };
  template <Code kCode>
  void norm(const NormInput& in, const float* weight, uint32_t row_blocks, uint32_t rows, const uint32_t* row_list,
            float* y, bool check);
  template <Code kCode, Finish kFinish>
  void multiply(std::initializer_list<const DeviceMatrix*> matrices, uint32_t rows, const Product& to);
  template <Code kCode, Finish kFinish, uint32_t kTiles, uint32_t kParts>
  void launch_products(ProductArgs& args);
  template <Code kCode, uint32_t kTiles, uint32_t kParts>
  uint32_t stages_for() const;
  template <Code kCode>
  uint32_t tile_tokens(uint32_t rows) const;
  template <Finish kFinish, uint32_t kTiles, uint32_t kParts>
  static uint32_t product_blocks(const ProductArgs& args);
  void plan_products(uint32_t rows);
  uint32_t splits_of(uint32_t blocks, uint32_t chunks, bool many_tokens) const;
  ProductRows rows_of(const ProductBuffer& buffer, const QuantizedRows& x) const;
  template <Code kCode>
  void layer_of(uint32_t i, const Step& step, const StepPlan& plan);
  template <KvFormat kFormat>
  void attention_of(uint32_t i, const Step& step, const StepPlan& plan);
  template <Code kCode, KvFormat kFormat>
  void launch_decode();
  template <class Call>
  void with_code(Call call);
  template <class Call>
  void with_format(Call call);

  uint32_t group() const { return shape_.heads / shape_.kv_heads; }
  /// Bytes of a row of `blocks` blocks, padded to whole units.
  static uint32_t padded_blocks(uint32_t blocks) { return (blocks + kUnitBlocks - 1) / kUnitBlocks * kUnitBlocks; }

  const EngineOptions options_;
  const Shape shape_;
  Outcome outcome_;
  Arena arena_;
  HostMapping file_;  // of the weights
  DeviceProperties device_;
  Stream stream_ = nullptr;
  DeviceModel model_{};
  std::vector<DeviceLayer> layers_;  // as on the device
  Code code_ = Code::kT2;
  uint32_t pages_ = 0;

  // Of a step of many rows.
  float *x_ = nullptr, *qkv_ = nullptr, *attended_ = nullptr, *h_ = nullptr, *last_ = nullptr, *logits_ = nullptr;
  QuantizedRows q_{};
  float* other_s_ = nullptr;  // what belongs to the rows before and after a norm takes turns in two places
  int32_t* other_sum_ = nullptr;
  ProductBuffer qkv_sums_, output_sums_, down_sums_;
  QkvRows qkv_rows_{};
  Problems* problems_ = nullptr;
  Picked* picked_ = nullptr;
  uint64_t* keys_ = nullptr;
  Growing<float> part_o_, part_ml_;
  Results parts_{};
  uint32_t* arrived_ = nullptr;  // see AttendArgs
  StepView view_{};
  const AttendTask* tasks_ = nullptr;
  const AttendTile* tiles_ = nullptr;
  const uint32_t *row_list_ = nullptr, *wanted_ = nullptr;
  Growing<unsigned char> sent_;
  unsigned char* outbox_ = nullptr;  // pinned
  uint64_t outbox_used_ = 0, outbox_room_ = 0;

  Graph graph_ = nullptr;  // of a step's launches, to be launched again as one
  StepKey graph_key_, last_key_;

  // Of a step of one row.
  DecodeArgs decode_{};
  uint64_t decode_shared_ = 0;  // 0: the device cannot decode in one kernel
  uint32_t decode_blocks_ = 0;
  Growing<uint32_t> decode_pages_;
  Growing<Tagged> decode_parts_;
  uint32_t decode_room_ = 0;    // blocks of 64 positions
  uint64_t decode_tagged_ = 0;  // values of products
  uint64_t* times_ = nullptr;

  // What comes back.
  Answer* answer_ = nullptr;         // pinned
  Picked* answer_picked_ = nullptr;  // pinned
  float* answer_logits_ = nullptr;   // pinned
  bool measuring_ = false;
  std::vector<Timing> timings_;
};

}  // namespace
}  // namespace onebit::gpu

#include "kernels/gpu/engine_batch.inl.h"
#include "kernels/gpu/engine_decode.inl.h"
