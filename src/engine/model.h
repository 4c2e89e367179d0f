// A model that is ready to answer: file, tokenizer and backend, opened together.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/gpu_module.h"
#include "backend/step_profile.h"
#include "backend/weights.h"
#include "format/h1b_file.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

/// Both give the same bits. The reference computes on one thread, as plainly as it can be written.
enum class Engine { kGen2, kReference };

struct ModelOptions {
  KvType kv_type = KvType::kF16;
  HeadChoice head = HeadChoice::kStored;
  Engine engine = Engine::kGen2;
  std::vector<Device> devices{{.kind = Device::Kind::kCpu, .module = {}, .index = 0}};  // of gen-2
  bool cpu_fallback = true;        // in place of devices that are lost
  uint64_t kv_bytes = 0;           // of each GPU's memory for keys and values; 0: what suits it
  bool gpu_in_place = true;        // GpuOptions::in_place
  unsigned threads = 0;            // of the CPU; 0: one for each processor this process may use
  bool pin = false;                // each thread on a processor of its own
  StepProfile* profile = nullptr;  // where the first device adds its times, if anywhere
};

class Model {
 public:
  /// Errors name the file and what is wrong with it, an instruction set in $HALO_ISA that cannot be used, or a device
  /// that cannot compute; where any device will do (`auto`) the CPU takes what no GPU does. Each of several devices has
  /// memory of its own.
  static Result<Model> open(const std::string& path, const ModelOptions& options = {});

  const H1bFile& file() const { return *file_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  Backend& backend() { return *backends_.front(); }
  /// One a device, in their order.
  std::vector<Backend*> backends() const;
  /// What computes: "reference", "cpu", "cuda:0", "cuda:0,cuda:1".
  const std::string& engine_name() const { return engine_name_; }

  /// The CPU in place of devices that were lost, made when it is first asked for; or why there is none. The model must
  /// not move after that. One thread at a time.
  Result<Backend*> fall_back();

 private:
  Status add_gpus();
  Result<std::unique_ptr<Backend>> make_cpu() const;

  // By pointer, so that what borrows from them stays valid when the model moves.
  std::unique_ptr<H1bFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::unique_ptr<Backend> fallback_;
  ModelOptions options_;
  std::string engine_name_;
};

/// File and tokenizer only, for work that computes nothing.
Result<Tokenizer> open_tokenizer(const H1bFile& file);

}  // namespace onebit
