// What is heard: the microphone's samples, the detector, the recogniser.
#include "voice/loop.h"

#include <algorithm>

#include "voice/loop_impl.h"

namespace onebit::voice {
namespace {

constexpr size_t kFrame = Recognizer::kRate / 100;  // 10 ms

size_t samples_in(Milliseconds time) {
  return static_cast<size_t>(std::max<int64_t>(time.count(), 0)) * Recognizer::kRate / 1000;
}

VadOptions vad_options(const LoopOptions& options) {
  auto vad = options.vad;
  vad.rate = Recognizer::kRate;
  return vad;
}

}  // namespace

std::string_view name_of(Event::Kind kind) {
  switch (kind) {
    case Event::Kind::kSpeechStarted:
      return "speech_started";
    case Event::Kind::kSpeechStopped:
      return "speech_stopped";
    case Event::Kind::kPartial:
      return "partial";
    case Event::Kind::kFinal:
      return "final";
    case Event::Kind::kText:
      return "text";
    case Event::Kind::kSentence:
      return "sentence";
    case Event::Kind::kAudio:
      return "audio";
    case Event::Kind::kDone:
      return "done";
    case Event::Kind::kInterrupted:
      return "interrupted";
    case Event::Kind::kError:
      return "error";
  }
  return "";
}

Loop::Impl::Impl(std::shared_ptr<Recognizer> r, std::shared_ptr<LanguageModel> m, std::shared_ptr<Speaker> s,
                 LoopOptions o, Listener l)
    : recognizer(std::move(r)),
      model(std::move(m)),
      speaker(std::move(s)),
      options(o),
      listener(std::move(l)),
      resampler(o.input_rate, Recognizer::kRate),
      vad(vad_options(o)) {
  if (recognizer) hears = std::thread([this] { hear(); });
  if (model) thinks = std::thread([this] { think(); });
  if (speaker) speaks = std::thread([this] { speak(); });
}

Loop::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    quit = true;
    settling.request_stop();
    ending.request_stop();
    if (current) current->stop.request_stop();
  }
  changed.notify_all();
  for (auto* thread : {&hears, &thinks, &speaks})
    if (thread->joinable()) thread->join();
}

void Loop::Impl::push(std::span<const int16_t> samples) {
  if (!recognizer) return;
  fresh.clear();
  resampler.push(samples, fresh);
  for (std::span<const int16_t> rest = fresh; !rest.empty();) {
    const auto frame = rest.first(std::min(rest.size(), kFrame));
    rest = rest.subspan(frame.size());
    take(frame);
  }
}

void Loop::Impl::take(std::span<const int16_t> frame) {
  position += frame.size();
  if (!options.detect_turns) {
    if (open == 0) open_turn();
    feed(frame);
    return;
  }
  std::vector<VadChange> changes;
  vad.push(frame, changes);
  if (!options.barge_in) {
    const std::lock_guard lock(mutex);
    if (busy_answer() || playing()) {  // what it hears now is the answer
      vad.end_speech();
      recent.clear();
      return;
    }
  }
  const bool was_open = open != 0 && !paused;
  if (open != 0 && paused) held.insert(held.end(), frame.begin(), frame.end());
  if (was_open) feed(frame);
  if (open == 0) {
    recent.insert(recent.end(), frame.begin(), frame.end());
    const size_t most = samples_in(options.before + options.vad.onset) + kFrame;
    if (recent.size() > 2 * most) recent.erase(recent.begin(), recent.end() - static_cast<std::ptrdiff_t>(most));
  }
  for (const auto& each : changes) change(each);
}

void Loop::Impl::change(const VadChange& change) {
  switch (change.kind) {
    case VadChange::Kind::kBegin: {
      open_turn();
      {
        const std::lock_guard lock(mutex);
        emit(Event::Kind::kSpeechStarted, open, {}, change.at);
        stop_answer();
      }
      const size_t wanted = samples_in(options.before) + static_cast<size_t>(position - std::min(change.at, position));
      feed(std::span<const int16_t>(recent).last(std::min(recent.size(), wanted)));
      recent.clear();
      break;
    }
    case VadChange::Kind::kPause:
      if (open == 0) break;
      paused = true;
      held.clear();
      if (options.speculate && options.stream) add(Task::Kind::kSettle);
      break;
    case VadChange::Kind::kResume:
      if (open == 0) break;
      paused = false;
      add(Task::Kind::kResume);
      feed(held);
      held.clear();
      break;
    case VadChange::Kind::kEnd:
      if (open == 0) break;
      {
        const std::lock_guard lock(mutex);
        emit(Event::Kind::kSpeechStopped, open, {}, change.at);
      }
      close_turn();
      break;
  }
}

void Loop::Impl::open_turn() {
  {
    const std::lock_guard lock(mutex);
    open = ++turns;
    settling.request_stop();  // a guess on an older turn
    settling = std::stop_source();
  }
  paused = false;
  turn_samples = 0;
  add(Task::Kind::kBegin);
}

void Loop::Impl::feed(std::span<const int16_t> samples) {
  if (open == 0 || samples.empty()) return;
  turn_samples += samples.size();
  if (pending + samples.size() > static_cast<uint64_t>(kMostPending.count()) * Recognizer::kRate) {
    overflow();
    return;
  }
  {
    const std::lock_guard lock(mutex);
    pending += samples.size();
    if (tasks.empty() || tasks.back().kind != Task::Kind::kFeed || tasks.back().turn != open)
      tasks.push_back({Task::Kind::kFeed, open, {}});
    auto& all = tasks.back().samples;
    all.insert(all.end(), samples.begin(), samples.end());
  }
  changed.notify_all();
  if (options.detect_turns &&
      turn_samples > static_cast<uint64_t>(options.longest_speech.count()) * Recognizer::kRate) {
    {
      const std::lock_guard lock(mutex);
      emit(Event::Kind::kSpeechStopped, open, {}, position);
    }
    close_turn();
  }
}

/// More waits for the recogniser than may: the turn is lost.
void Loop::Impl::overflow() {
  const std::lock_guard lock(mutex);
  fail_turn(open, Error{fmt::format("speech comes faster than {} understands it: {} s of it wait", recognizer->name(),
                                    kMostPending.count())});
  const auto of_turn = [&](const Task& task) { return task.turn == open; };
  for (const auto& task : tasks)
    if (of_turn(task)) pending -= task.samples.size();
  std::erase_if(tasks, of_turn);
  open = 0;
  held.clear();
  vad.end_speech();
}

bool Loop::Impl::close_turn() {
  if (open == 0) return false;
  add(Task::Kind::kFinish);
  open = 0;
  paused = false;
  held.clear();
  recent.clear();
  vad.end_speech();
  return true;
}

void Loop::Impl::add(Task::Kind kind) {
  {
    const std::lock_guard lock(mutex);
    if (kind == Task::Kind::kResume) {  // what was begun on the pause is not wanted
      settling.request_stop();
      settling = std::stop_source();
      if (current && current->turn == open && !current->committed) drop(*current);
    }
    tasks.push_back({kind, open, {}});
  }
  changed.notify_all();
}

void Loop::Impl::hear() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [&] { return quit || !tasks.empty(); });
    if (quit) return;
    auto task = std::move(tasks.front());
    tasks.pop_front();
    pending -= task.samples.size();
    hearing = true;
    const bool skipped = failed_turn == task.turn && task.kind != Task::Kind::kBegin;
    lock.unlock();
    if (!skipped) hear_task(task);
    lock.lock();
    hearing = false;
    changed.notify_all();
  }
}

void Loop::Impl::hear_task(Task& task) {
  Status status;
  switch (task.kind) {
    case Task::Kind::kBegin:
      status = recognizer->begin();
      partial.clear();
      unheard.clear();
      break;
    case Task::Kind::kFeed:
      if (!options.stream) {
        unheard.insert(unheard.end(), task.samples.begin(), task.samples.end());
        break;
      }
      status = recognizer->feed(task.samples);
      if (status) {
        auto text = recognizer->partial();
        if (text.empty() || text == partial) break;
        partial = std::move(text);
        const std::lock_guard lock(mutex);
        emit(Event::Kind::kPartial, task.turn, partial);
      }
      break;
    case Task::Kind::kSettle:
      settle(task.turn);
      break;
    case Task::Kind::kResume:
      break;
    case Task::Kind::kFinish:
      if (!unheard.empty()) status = recognizer->feed(unheard);
      unheard.clear();
      if (status) finish(task.turn);
      break;
    case Task::Kind::kAbort:
      status = recognizer->begin();
      break;
  }
  if (!status) {
    const std::lock_guard lock(mutex);
    fail_turn(task.turn, status.error());
  }
}

/// In a pause: what may already be the whole question.
void Loop::Impl::settle(uint64_t turn) {
  std::stop_token stop;
  {
    const std::lock_guard lock(mutex);
    const bool goes_on =
        std::any_of(tasks.begin(), tasks.end(), [](const Task& task) { return task.kind == Task::Kind::kResume; });
    if (goes_on) return;
    stop = settling.get_token();
  }
  const auto text = recognizer->settle(stop);
  if (!text || text->empty() || stop.stop_requested()) return;  // finish() tells of errors
  const std::lock_guard lock(mutex);
  if (stop.stop_requested()) return;  // it went on meanwhile
  if (*text != partial) emit(Event::Kind::kPartial, turn, *text);
  partial = *text;
  if (options.answer) propose(turn, *text, false);
}

void Loop::Impl::finish(uint64_t turn) {
  const auto text = recognizer->finish(ending.get_token());
  const std::lock_guard lock(mutex);
  if (quit) return;
  if (!text) {
    fail_turn(turn, text.error());
    return;
  }
  emit(Event::Kind::kFinal, turn, *text);
  if (text->empty() || !options.answer || !model) {
    if (current && current->turn == turn) drop(*current);
    emit(Event::Kind::kDone, turn);
    return;
  }
  propose(turn, *text, true);
}

Loop::Loop(std::shared_ptr<Recognizer> recognizer, std::shared_ptr<LanguageModel> model,
           std::shared_ptr<Speaker> speaker, LoopOptions options, Listener listener)
    : impl_(std::make_unique<Impl>(std::move(recognizer), std::move(model), std::move(speaker), options,
                                   std::move(listener))) {}

Loop::~Loop() = default;

void Loop::push(std::span<const int16_t> samples) {
  const std::lock_guard lock(impl_->input_mutex);
  impl_->push(samples);
}

bool Loop::end_turn() {
  const std::lock_guard lock(impl_->input_mutex);
  if (impl_->open == 0) return false;
  {
    const std::lock_guard state(impl_->mutex);
    impl_->emit(Event::Kind::kSpeechStopped, impl_->open, {}, impl_->position);
    impl_->stop_answer();
  }
  return impl_->close_turn();
}

void Loop::clear_input() {
  const std::lock_guard lock(impl_->input_mutex);
  auto& i = *impl_;
  i.recent.clear();
  i.held.clear();
  i.vad.end_speech();
  if (i.open == 0) return;
  const std::lock_guard state(i.mutex);
  const auto of_turn = [&](const Impl::Task& task) { return task.turn == i.open; };
  for (const auto& task : i.tasks)
    if (of_turn(task)) i.pending -= task.samples.size();
  std::erase_if(i.tasks, of_turn);
  i.settling.request_stop();
  if (i.current && i.current->turn == i.open) i.drop(*i.current);
  i.failed_turn = i.open;
  i.emit(Event::Kind::kInterrupted, i.open);
  i.open = 0;
}

void Loop::say(const std::string& text) {
  const std::lock_guard lock(impl_->mutex);
  const uint64_t turn = ++impl_->turns;
  impl_->stop_answer();
  impl_->emit(Event::Kind::kFinal, turn, text);
  if (impl_->model && !text.empty())
    impl_->propose(turn, text, true);
  else
    impl_->emit(Event::Kind::kDone, turn);
}

void Loop::interrupt() {
  const std::lock_guard lock(impl_->mutex);
  impl_->stop_answer();
}

double Loop::pending() const {
  return static_cast<double>(impl_->pending) / Recognizer::kRate;
}

bool Loop::wait_idle(std::chrono::milliseconds most) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, most, [&] { return impl_->idle(); });
}

}  // namespace onebit::voice
