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

struct OpenGpu {
  std::unique_ptr<Backend> backend;
  std::string name;
};

/// The device that was named, or else the first that takes the model.
Result<OpenGpu> open_gpu(const ModelWeights& weights, const ModelOptions& options) {
  std::vector<std::string> names;
  if (options.device.kind == Device::Kind::kGpu) {
    names.push_back(fmt::format("{}:{}", options.device.module, options.device.index));
  } else {
    for (const auto& device : gpu_devices()) names.push_back(device.name);
  }
  Error last{"there is no GPU"};
  for (const auto& name : names) {
    ASSIGN_OR_RETURN(const auto device, device_by_name(name));
    ASSIGN_OR_RETURN(const auto module, load_gpu_module(device.module));
    auto backend = make_gpu_backend(
        weights, module,
        {.kv_type = options.kv_type, .device = device.index, .kv_bytes = options.kv_bytes, .profile = options.profile});
    if (backend) return OpenGpu{*std::move(backend), name};
    last = std::move(backend).error();
  }
  return tl::unexpected<Error>(std::move(last));
}

}  // namespace

Result<Model> Model::open(const std::string& path, const ModelOptions& options) {
  Model model;
  ASSIGN_OR_RETURN(auto file, H1bFile::open(path));
  model.file_ = std::make_unique<H1bFile>(std::move(file));
  ASSIGN_OR_RETURN(auto tokenizer, open_tokenizer(*model.file_));
  model.tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  ASSIGN_OR_RETURN(auto weights, bind_weights(*model.file_, options.head));
  if (options.engine == Engine::kGen2 && options.device.kind != Device::Kind::kCpu) {
    auto gpu = open_gpu(weights, options);
    if (gpu) {
      model.backend_ = std::move(gpu->backend);
      model.engine_name_ = gpu->name;
      return model;
    }
    if (options.device.kind == Device::Kind::kGpu) return tl::unexpected<Error>(std::move(gpu).error());
  }
  if (options.engine == Engine::kReference) {
    model.backend_ = make_reference_backend(std::move(weights), options.kv_type);
    model.engine_name_ = "reference";
  } else {
    ASSIGN_OR_RETURN(const auto* kernels, cpu::chosen_kernels());
    model.backend_ = make_cpu_backend(std::move(weights), {.kv_type = options.kv_type,
                                                           .threads = options.threads,
                                                           .pin = options.pin,
                                                           .profile = options.profile,
                                                           .kernels = kernels});
  }
  return model;
}

}  // namespace onebit
