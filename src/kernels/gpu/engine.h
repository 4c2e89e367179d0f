// A model on one GPU: what a module (a library for CUDA, HIP or, in tests, the host) offers to the program that loads
// it. Plain data and virtual functions; no type of a GPU's runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace onebit::gpu {

/// Of this header and of what it hands over: a program and a module that differ in it do not belong together. Raise it
/// with each change.
inline constexpr char kInterface[] = "1bit-gpu-4";

enum class KvFormat : uint32_t { kF32, kF16, kQ8 };

inline constexpr uint32_t kPagePositions = 64;
/// Largest logits that a device picks of a row.
inline constexpr uint32_t kMostPicked = 64;

struct Shape {
  uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocabulary, context;
  float rms_epsilon;
  float score_factor;  // 1 / sqrt(head_dim)
};

/// How a matrix is packed (format/packing.h).
enum class Code : uint32_t { kT2, kT1_6, kQ8, kF16, kBf16 };
enum class Scales : uint32_t { kNone, kOne, kRow, kGroup };

/// A stored matrix; borrowed, as all views here, from the model file for as long as the engine lives: where host and
/// device share memory it may read the file in place.
struct MatrixView {
  Code code;
  uint32_t rows, columns;
  uint32_t groups, blocks;  // of 16 rows; of 64 bytes in a group: of the tiled packings
  std::span<const std::byte> data;
  Scales granularity;
  std::span<const float> scales;
};
struct LayerView {
  std::span<const float> attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm;
  MatrixView attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down;
};
struct ModelView {
  Shape shape;
  std::span<const std::byte> file;  // all of it, mapped: whole pages, and read-only
  MatrixView embedding;             // bf16 [vocabulary][hidden]
  std::vector<LayerView> layers;
  std::span<const float> output_norm;
  MatrixView head;                            // q8, f16 or bf16
  std::span<const float> rope_cos, rope_sin;  // [context][head_dim / 2]
};

struct EngineOptions {
  int device = 0;
  KvFormat kv = KvFormat::kF16;
  uint64_t kv_bytes = 0;     // memory for pages; 0: what 64 full contexts take, at most a quarter of what is free
  uint32_t most_rows = 512;  // of a step
  bool in_place = true;      // weights, where host and device share memory; else, and where that fails, copied
  bool split_kv = true;      // of one token's attention; else a block of threads walks over a KV head's whole context
};

struct Failure {
  enum class Kind { kNone, kUnfit, kNoMemory, kDevice, kResidual, kLogits };
  Kind kind = Kind::kNone;
  std::string text;  // one sentence
  explicit operator bool() const { return kind != Kind::kNone; }
};

/// A token of a step. Rows of one sequence stand together, by ascending position.
struct Row {
  int32_t token;
  uint32_t position;
  uint32_t sequence;  // index into Step::sequences
  int32_t logits;     // which row of logits it wants, or -1
};
struct Sequence {
  uint32_t first_row, rows;
  uint32_t first_page;  // in Step::pages
  uint32_t first_position;
};
struct Picked {
  int32_t token;
  float logit;
};
struct Step {
  std::span<const Row> rows;
  std::span<const Sequence> sequences;
  std::span<const uint32_t> pages;  // of each sequence in turn: those that hold its positions up to its last row's
  uint32_t logits_rows = 0;
  /// By row of logits: how many of its largest are wanted, descending, ties to the lower id; 0: all of the row.
  std::span<const uint32_t> picks;
  float* logits = nullptr;   // out: [rows of logits with picks 0][vocabulary]
  Picked* picked = nullptr;  // out: [logits_rows][kMostPicked]
};

/// Where a step's time went, on the device's clock, by part.
struct Timing {
  std::string part;
  double seconds = 0;
};

/// One thread at a time.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string device_name() const = 0;
  virtual uint32_t pages() const = 0;
  virtual uint64_t page_bytes() const = 0;
  /// Waits for the result. On a failure other than kNone the contents of the rows' positions are undefined.
  virtual Failure step(const Step& step) = 0;
  /// Before the next step. Cannot fail by itself: a lost device is told by that step.
  virtual void copy_page(uint32_t from, uint32_t to) = 0;
  /// Parts of the last step, if the engine was asked to measure and the step was one of a single row.
  virtual std::vector<Timing> timings() const = 0;
  virtual void measure(bool on) = 0;
};

struct DeviceInfo {
  std::string name;          // the product's
  std::string architecture;  // sm_90, gfx1151
  uint64_t memory_bytes = 0, free_bytes = 0;
};

/// What a module's only symbol, `onebit_gpu_module`, returns a pointer to.
struct Module {
  const char* build;  // kInterface, as it was when the module was made
  const char* kind;   // "cuda", "hip", "host"
  int (*device_count)();
  DeviceInfo (*describe)(int device);
  /// Bytes a second that a kernel which only reads reaches; 0 where the device fails.
  double (*read_bandwidth)(int device);
  /// On the PCI bus, as "0000:c1:00.0"; empty where it is not known.
  std::string (*pci_address)(int device);
  /// Null with `failure` set.
  Engine* (*create)(const ModelView& model, const EngineOptions& options, Failure& failure);
};

}  // namespace onebit::gpu
