#include "server/models.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "backend/paged_kv.h"
#include "base/spare_memory.h"
#include "base/utf8.h"
#include "kernels/cpu/select.h"
#include "server/await.h"
#include "server/version.h"

namespace onebit::server {
namespace {

/// Between two looks at whether a model is there.
constexpr std::chrono::milliseconds kLook{20};
/// A model that others wait for stays at least so long, so that those who waited for it get their turn.
constexpr std::chrono::seconds kTurn{1};

/// The CPU takes the place of devices that are lost, unless the model's options say otherwise.
EngineLoopOptions with_spare(EngineLoopOptions options, Model& model) {
  options.spare = [&model] { return model.fall_back(); };
  return options;
}

/// What keys and values may take: as the options say, or four full contexts.
uint64_t kv_bytes(const ModelConfig& config, const ServerOptions& options) {
  if (options.engine.scheduler.kv_bytes > 0) return options.engine.scheduler.kv_bytes;
  const uint64_t pages = 4 * ((uint64_t{config.context} + kKvPagePositions - 1) / kKvPagePositions);
  return pages * KvLayout(config, options.model.kv_type).page_bytes;
}

int64_t now_unix() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Service::Service(Model loaded, std::string its_name, const ServerOptions& options)
    : model(std::move(loaded)),
      name(std::move(its_name)),
      grammars(model.tokenizer()),
      api{.tokenizer = model.tokenizer(),
          .config = model.file().config(),
          .model_name = name,
          .limits = options.api,
          .any_model = options.any_model,
          .grammars = &grammars},
      engine(model.backends(), model.tokenizer(), with_spare(options.engine, model)) {}

const char* Models::Entry::state() const {
  if (loading) return "loading";
  if (service != nullptr) return "loaded";
  return failure.empty() ? "unloaded" : "failed";
}

Models::~Models() {
  for (auto& entry : entries_) entry->service.reset();
  loader_.join();
}

Status Models::add(std::string name, const std::string& path, bool stays) {
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  if (name.empty()) name = file.provenance("name");
  if (name.empty()) name = "1bit";
  name = utf8_replace_invalid(name);
  if (find(name) != nullptr) return fail("{}: there is another model of the name '{}'", path, printable(name));
  auto entry = std::make_shared<Entry>();
  entry->name = std::move(name);
  entry->path = path;
  entry->facts = facts_of(file);
  entry->stays = stays;
  entry->cost = entry->facts.bytes + kv_bytes(file.config(), options_);
  entry->created = now_unix();
  entries_.push_back(std::move(entry));
  return {};
}

Status Models::add_folder() {
  if (options_.models_folder.empty()) return {};
  std::error_code code;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator it(options_.models_folder, code), end; !code && it != end;
       it.increment(code))
    if (it->path().extension() == ".h1b") files.push_back(it->path());
  if (code) return fail("{}: the folder of models cannot be read: {}", options_.models_folder, code.message());
  std::sort(files.begin(), files.end());
  for (const auto& file : files)
    if (auto status = add(file.stem().string(), file.string(), false); !status)
      log_("model left out: " + status.error().message);
  return {};
}

Status Models::open_files() {
  if (!options_.model_path.empty()) RETURN_IF_ERROR(add(options_.model_name, options_.model_path, true));
  for (const auto& [name, path] : options_.more_models) RETURN_IF_ERROR(add(name, path, false));
  RETURN_IF_ERROR(add_folder());
  if (entries_.empty()) return fail("{}: there is no model in this folder", options_.models_folder);
  return {};
}

Result<std::shared_ptr<Service>> Models::load(const std::string& name, const std::string& path) const {
  ASSIGN_OR_RETURN(auto model, Model::open(path, options_.model));
  return std::make_shared<Service>(std::move(model), name, options_);
}

Result<std::shared_ptr<Service>> Models::load_first() {
  if (options_.model_path.empty()) return std::shared_ptr<Service>();
  return load(entries_.front()->name, entries_.front()->path);
}

void Models::first_is(std::shared_ptr<Service> service) {
  if (service != nullptr) loaded(*entries_.front(), std::move(service), 0);
}

std::shared_ptr<Models::Entry> Models::find_entry(std::string_view name) const {
  if (name.empty() && !entries_.empty()) return entries_.front();
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const auto& e) { return e->name == name; });
  return it == entries_.end() ? nullptr : *it;
}

const Models::Entry* Models::find(std::string_view name) const {
  return find_entry(name).get();
}

uint64_t Models::memory_in_use() const {
  uint64_t sum = 0;
  for (const auto& entry : entries_)
    if (entry->service != nullptr || entry->loading) sum += entry->cost;
  return sum;
}

/// Whether there is memory for it now. Those that were not used for longest go; where they are all in use, they take no
/// new requests until they are not.
bool Models::make_room(const Entry& entry) {
  if (options_.models_bytes == 0) return true;
  uint64_t needed = memory_in_use() + entry.cost;
  std::vector<Entry*> others;
  for (auto& other : entries_)
    if (other->service != nullptr && !other->stays) others.push_back(other.get());
  std::sort(others.begin(), others.end(), [](const Entry* a, const Entry* b) { return a->used < b->used; });
  const auto now = Clock::now();
  const auto had_its_turn = [&](const Entry* other) { return now - other->loaded >= kTurn; };
  for (Entry* other : others) {
    if (needed <= options_.models_bytes) break;
    if (!other->idle()) continue;
    needed -= other->cost;
    unload(*other);
  }
  if (needed <= options_.models_bytes) return true;
  for (Entry* other : others) {
    if (needed <= options_.models_bytes) break;
    if (other->service == nullptr || !had_its_turn(other)) continue;
    needed -= other->cost;
    other->closing = true;
  }
  return false;
}

void Models::start_loading(Entry& entry) {
  entry.loading = true;
  asio::post(loader_, [this, &entry, begin = Clock::now()] {
    auto result = load(entry.name, entry.path);  // these two never change
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    asio::post(io_, [this, &entry, ms, result = std::move(result)]() mutable { loaded(entry, std::move(result), ms); });
  });
}

void Models::loaded(Entry& entry, Result<std::shared_ptr<Service>> result, double ms) {
  entry.loading = false;
  entry.closing = false;
  ++entry.attempts;
  entry.failure = result ? std::string() : result.error().message;
  if (!result) return log_("model not loaded: " + entry.failure);
  entry.service = *std::move(result);
  entry.loaded = entry.used = Clock::now();
  if (draining_) entry.service->engine.drain();
  const auto engine = entry.service->model.engine_name();
  metrics_.loaded({kVersion, entry.name, engine == "cpu" ? (*cpu::chosen_kernels())->name : engine});
  if (!entry.stays) log_(fmt::format("loaded model={} device={} ms={:.0f}", printable(entry.name), engine, ms));
}

/// Nobody uses it. Destroyed elsewhere, since its threads have to end.
void Models::unload(Entry& entry) {
  log_(fmt::format("unloaded model={}", printable(entry.name)));
  auto last = entry.service->engine.stats();
  for (SharedCount* now :
       {&last.queued, &last.running, &last.batch_rows, &last.kv_pages, &last.cached_pages, &last.most_kv_pages})
    *now = 0;
  gone_ += last;
  gone_.lost += last.lost;
  entry.closing = false;
  asio::post(loader_, [service = std::move(entry.service)]() mutable {
    service.reset();
    give_back_spare_memory();
  });
}

asio::awaitable<ApiResult<std::shared_ptr<Service>>> Models::get(std::string name, Clock::time_point deadline,
                                                                 std::function<bool()> gone) {
  auto entry = find_entry(name);
  if (entry == nullptr && options_.any_model) entry = entries_.front();
  if (entry == nullptr) {
    ApiError error = api_error(404, "model_not_found", fmt::format("the model '{}' does not exist", printable(name)));
    error.param = "model";
    co_return tl::unexpected(std::move(error));
  }
  uint64_t staying = 0;
  for (const auto& other : entries_) staying += other->stays && other != entry ? other->cost : 0;
  if (options_.models_bytes > 0 && !entry->stays && staying + entry->cost > options_.models_bytes)
    co_return tl::unexpected(api_error(503, "model_too_large",
                                       fmt::format("the model '{}' needs {} MB, more than there are for models",
                                                   printable(entry->name), entry->cost / 1000000)));
  asio::steady_timer timer(io_);
  ++entry->waiting;
  const auto waited = [](Entry* e) { --e->waiting; };
  const std::unique_ptr<Entry, decltype(waited)> waiting(entry.get(), waited);
  const uint64_t attempts = entry->attempts;
  while (true) {
    if (entry->service != nullptr && !entry->closing) {
      entry->used = Clock::now();
      co_return entry->service;
    }
    if (entry->closing && entry->service.use_count() == 1) unload(*entry);
    if (entry->service == nullptr && entry->attempts != attempts && !entry->failure.empty())
      co_return tl::unexpected(api_error(500, "model_failed", entry->failure));
    if (draining_) co_return tl::unexpected(api_error(503, "shutting_down", "the server is shutting down", 5));
    if (entry->service == nullptr && !entry->loading && make_room(*entry)) start_loading(*entry);
    if (gone()) co_return tl::unexpected(ApiError());
    if (Clock::now() >= deadline)
      co_return tl::unexpected(
          api_error(503, "models_busy", "other models are in use, and there is no memory for this", 5));
    timer.expires_after(kLook);
    co_await timer.async_wait(kAwait);
  }
}

asio::awaitable<void> Models::watch_idle() {
  asio::steady_timer timer(io_);
  while (!draining_) {
    timer.expires_after(std::chrono::milliseconds(200));
    co_await timer.async_wait(kAwait);
    const auto now = Clock::now();
    const bool wanted = std::any_of(entries_.begin(), entries_.end(),
                                    [](const auto& e) { return e->service == nullptr && e->waiting > 0; });
    for (auto& entry : entries_) {
      if (entry->service == nullptr || entry->stays) continue;
      entry->closing = entry->closing && wanted;  // those for whom it was to go may have left
      if (!entry->idle()) entry->used = now;
      const bool too_long = options_.model_idle.count() > 0 && now - entry->used >= options_.model_idle;
      if (entry->service.use_count() == 1 && (entry->closing || too_long)) unload(*entry);
    }
  }
}

EngineStats Models::stats() const {
  EngineStats sum = gone_;
  for (const auto& entry : entries_) {
    if (entry->service == nullptr) continue;
    const auto stats = entry->service->engine.stats();
    sum += stats;
    sum.devices += stats.devices;
    sum.lost += stats.lost;
  }
  return sum;
}

bool Models::sound() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) {
    return !entry->stays || entry->service == nullptr || entry->service->engine.sound();
  });
}

void Models::drain() {
  draining_ = true;
  for (auto& entry : entries_)
    if (entry->service != nullptr) entry->service->engine.drain();
}

void Models::cancel_all() {
  for (auto& entry : entries_)
    if (entry->service != nullptr) entry->service->engine.cancel_all();
}

void Models::end() {
  for (auto& entry : entries_)
    if (entry->service != nullptr) entry->service->engine.end();
}

}  // namespace onebit::server
