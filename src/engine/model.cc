#include "engine/model.h"

#include "backend/cpu_backend.h"
#include "backend/gpu_backend.h"
#include "backend/reference_backend.h"

namespace onebit {

Result<Tokenizer> open_tokenizer(const H1bFile& file) {
  ASSIGN_OR_RETURN(auto data, file.tokenizer());
  return Tokenizer::create(std::move(data));
}

namespace {

std::string name_of(const Device& device) {
  return fmt::format("{}:{}", device.module, device.index);
}

/// The devices that were named; of `auto`, those to try in turn.
Result<std::vector<Device>> gpus_of(const std::vector<Device>& asked) {
  std::vector<Device> found;
  for (const auto& device : asked) {
    if (device.kind == Device::Kind::kAuto) {
      for (const auto& gpu : gpu_devices()) found.push_back(*device_by_name(gpu.name));
    } else if (device.index == Device::kAll) {
      ASSIGN_OR_RETURN(const auto module, load_gpu_module(device.module));
      const int count = module.functions->device_count();
      if (count == 0) return fail("{}:all: this machine has none, or no driver for it", device.module);
      found.reserve(found.size() + static_cast<size_t>(count));
      for (int i = 0; i < count; ++i) found.push_back({Device::Kind::kGpu, device.module, i});
    } else if (device.kind == Device::Kind::kGpu) {
      found.push_back(device);
    }
  }
  return found;
}

}  // namespace

std::vector<Backend*> Model::backends() const {
  std::vector<Backend*> all;
  all.reserve(backends_.size());
  for (const auto& backend : backends_) all.push_back(backend.get());
  return all;
}

/// Every device that was named, or else the first that takes the model, if there is one.
Status Model::add_gpus() {
  const bool any = options_.devices.front().kind == Device::Kind::kAuto;
  ASSIGN_OR_RETURN(const auto gpus, gpus_of(options_.devices));
  ASSIGN_OR_RETURN(const auto weights, bind_weights(*file_, options_.head));
  for (const auto& device : gpus) {
    ASSIGN_OR_RETURN(const auto module, load_gpu_module(device.module));
    auto backend = make_gpu_backend(weights, module,
                                    {.kv_type = options_.kv_type,
                                     .device = device.index,
                                     .kv_bytes = options_.kv_bytes,
                                     .in_place = options_.gpu_in_place,
                                     .profile = backends_.empty() ? options_.profile : nullptr});
    if (!backend && any) continue;
    if (!backend) return fail_in(name_of(device), backend.error());
    backends_.push_back(*std::move(backend));
    engine_name_ += (engine_name_.empty() ? "" : ",") + name_of(device);
    if (any) break;
  }
  return {};
}

Result<std::unique_ptr<Backend>> Model::make_cpu() const {
  ASSIGN_OR_RETURN(auto weights, bind_weights(*file_, options_.head));
  ASSIGN_OR_RETURN(const auto* kernels, cpu::chosen_kernels());
  return make_cpu_backend(std::move(weights), {.kv_type = options_.kv_type,
                                               .threads = options_.threads,
                                               .pin = options_.pin,
                                               .profile = options_.profile,
                                               .kernels = kernels});
}

Result<Model> Model::open(const std::string& path, const ModelOptions& options) {
  Model model;
  model.options_ = options;
  ASSIGN_OR_RETURN(auto file, H1bFile::open(path));
  model.file_ = std::make_unique<H1bFile>(std::move(file));
  ASSIGN_OR_RETURN(auto tokenizer, open_tokenizer(*model.file_));
  model.tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  if (options.engine == Engine::kReference) {
    ASSIGN_OR_RETURN(auto weights, bind_weights(*model.file_, options.head));
    model.backends_.push_back(make_reference_backend(std::move(weights), options.kv_type));
    model.engine_name_ = "reference";
    return model;
  }
  RETURN_IF_ERROR(model.add_gpus());
  if (!model.backends_.empty()) return model;
  ASSIGN_OR_RETURN(auto cpu, model.make_cpu());
  model.backends_.push_back(std::move(cpu));
  model.engine_name_ = "cpu";
  return model;
}

Result<Backend*> Model::fall_back() {
  if (!options_.cpu_fallback) return fail("--device-fallback none");
  if (fallback_ == nullptr) {
    ASSIGN_OR_RETURN(fallback_, make_cpu());
  }
  return fallback_.get();
}

}  // namespace onebit
