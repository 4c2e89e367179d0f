// A module of another build, as an update that reached only half of the files leaves one.
namespace {
struct Module {
  const char* build;
  const char* kind;
} module{"1bit-gpu-of-another-build", "hip"};
}  // namespace

extern "C" const void* onebit_gpu_module() {
  return &module;
}
