// What is answered: the language model, the sentences of its text, their speech.
#include <algorithm>

#include "voice/loop.h"
#include "voice/loop_impl.h"

namespace onebit::voice {
namespace {

constexpr size_t kMostSentences = 64;  // that wait to be spoken; then the model waits
constexpr std::chrono::milliseconds kPaceTick{50};

/// A text in as few pieces as a speaker takes.
std::vector<std::string> sentences_of_length(std::string_view text, size_t most) {
  std::vector<std::string> pieces;
  for (auto& sentence : sentences(text)) {
    if (pieces.empty() || pieces.back().size() + sentence.size() > most)
      pieces.push_back(std::move(sentence));
    else
      pieces.back() += sentence;
  }
  return pieces;
}

}  // namespace

void Loop::Impl::emit(Event::Kind kind, uint64_t turn, std::string text, uint64_t sample) {
  if (listener && !quit)
    listener({.kind = kind, .turn = turn, .at = Clock::now(), .sample = sample, .text = std::move(text)});
}

/// An event of an answer: now, or when it is certain that the answer is wanted.
void Loop::Impl::tell(LoopAnswer& answer, Event event, std::vector<int16_t> audio) {
  event.turn = answer.turn;
  event.at = Clock::now();
  if (!answer.committed) {
    answer.held.push_back({std::move(event), std::move(audio)});
    return;
  }
  event.audio = audio;
  deliver(answer, event);
}

void Loop::Impl::deliver(LoopAnswer& answer, const Event& event) {
  if (!event.audio.empty()) {
    const auto length = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(static_cast<double>(event.audio.size()) / speaker->rate()));
    answer.play_end = std::max(answer.play_end, Clock::now()) + length;
  }
  if (listener && !quit) listener(event);
}

/// The question of a turn as far as it is understood; `commit`: it is certain.
void Loop::Impl::propose(uint64_t turn, const std::string& question, bool commit_it) {
  if (!model) return;
  const bool same = current && current->turn == turn && current->question == question && current->wanted();
  if (commit_it && turn != turns) {  // somebody speaks again
    if (current && current->turn == turn) drop(*current);
    to_remember.emplace_back(question, std::string());
    emit(Event::Kind::kInterrupted, turn);
    return;
  }
  if (!same) {
    close_answer();
    current = std::make_shared<LoopAnswer>();
    current->turn = turn;
    current->question = question;
  }
  if (commit_it) commit(*current);
  changed.notify_all();
}

void Loop::Impl::commit(LoopAnswer& answer) {
  if (answer.committed) return;
  answer.committed = true;
  auto held_events = std::move(answer.held);
  answer.held.clear();
  for (auto& [event, audio] : held_events) {
    event.audio = audio;
    deliver(answer, event);
  }
  end_answer(answer);
}

void Loop::Impl::drop(LoopAnswer& answer) {
  answer.stop.request_stop();
  answer.ended = true;
  answer.sentences.clear();
  answer.held.clear();
  changed.notify_all();
}

/// The answer that there was makes room for another; an exchange that took place is remembered.
void Loop::Impl::close_answer() {
  if (!current) return;
  if (current->committed && !current->error) to_remember.emplace_back(current->question, heard(*current));
  if (!current->ended) drop(*current);
  current.reset();
}

bool Loop::Impl::busy_answer() const {
  return current && current->committed && !current->ended;
}

bool Loop::Impl::playing() const {
  return current && current->committed && current->wanted() && Clock::now() < current->play_end;
}

/// As much of the answer's text as has been played: whole sentences, and of the one that plays as much as its time
/// says.
std::string Loop::Impl::heard(const LoopAnswer& answer) const {
  if (answer.cut) return *answer.cut;
  const auto now = Clock::now();
  if (!speaker || (answer.ended && now >= answer.play_end)) return answer.text;
  const auto left = answer.play_end > now ? std::chrono::duration<double>(answer.play_end - now).count() : 0.0;
  const auto unplayed = static_cast<uint64_t>(left * speaker->rate());
  const uint64_t played = answer.made - std::min(answer.made, unplayed);
  LoopAnswer::Mark last{0, 0};
  for (const auto& mark : answer.marks) {
    if (mark.samples > played) {
      const double part = static_cast<double>(played - last.samples) / static_cast<double>(mark.samples - last.samples);
      const size_t bytes =
          last.text_end + static_cast<size_t>(part * static_cast<double>(mark.text_end - last.text_end));
      const size_t space = answer.text.rfind(' ', bytes);
      return answer.text.substr(0, space == std::string::npos || space < last.text_end ? last.text_end : space);
    }
    last = mark;
  }
  return answer.text.substr(0, last.text_end);
}

void Loop::Impl::stop_answer() {
  if (!current) return;
  auto& answer = *current;
  if (!answer.committed) {
    drop(answer);
    return;
  }
  if (!answer.wanted() || (answer.ended && !playing())) return;
  answer.cut = heard(answer);
  drop(answer);
  emit(Event::Kind::kInterrupted, answer.turn, *answer.cut);
}

void Loop::Impl::fail_turn(uint64_t turn, const Error& error) {
  if (failed_turn == turn || turn == 0) return;
  failed_turn = turn;
  if (current && current->turn == turn) {
    current->error = error;
    drop(*current);
  }
  emit(Event::Kind::kError, turn, error.message);
}

/// Where nothing is left to make or to tell: the turn is over.
void Loop::Impl::end_answer(LoopAnswer& answer) {
  if (answer.ended || !answer.committed || !answer.text_done) return;
  if (answer.error) {
    const auto error = *answer.error;
    fail_turn(answer.turn, error);
    return;
  }
  if (speaker && (!answer.sentences.empty() || answer.speaking)) return;
  answer.ended = true;
  emit(Event::Kind::kDone, answer.turn);
  changed.notify_all();
}

bool Loop::Impl::idle() const {
  const bool made = !current || current->ended;
  return tasks.empty() && !hearing && !thinking && made && (!current || !current->speaking);
}

void Loop::Impl::think() {
  std::unique_lock lock(mutex);
  while (true) {
    const auto ready = [&] { return current && !current->taken && current->wanted(); };
    changed.wait(lock, [&] { return quit || ready(); });
    if (quit) return;
    const auto taken = current;
    taken->taken = true;
    thinking = true;
    while (!to_remember.empty()) {
      const auto [question, told] = std::move(to_remember.front());
      to_remember.pop_front();
      lock.unlock();
      model->remember(question, told);
      lock.lock();
    }
    answer(taken, lock);
    thinking = false;
    changed.notify_all();
  }
}

void Loop::Impl::answer(const std::shared_ptr<LoopAnswer>& taken, std::unique_lock<std::mutex>& lock) {
  auto& a = *taken;
  if (!a.wanted()) return;
  lock.unlock();
  const LanguageModel::Sink sink = [&](std::string_view piece) { return take_text(a, piece); };
  auto status = model->answer(a.question, sink, a.stop.get_token());
  lock.lock();
  if (!a.wanted()) return;
  if (!status && !a.error) a.error = status.error();
  if (a.error) {
    a.sentences.clear();
  } else {
    split_rest(a);
  }
  a.text_done = true;
  end_answer(a);
}

bool Loop::Impl::take_text(LoopAnswer& a, std::string_view piece) {
  std::unique_lock lock(mutex);
  const auto wanted = [&] { return a.wanted() && !a.error && !quit; };
  if (!wanted()) return false;
  if (piece.empty()) return true;
  a.text += piece;
  tell(a, {.kind = Event::Kind::kText, .text = std::string(piece)});
  if (speaker && options.stream) {
    std::vector<std::string> pieces;
    a.splitter.push(piece, pieces);
    add_sentences(a, std::move(pieces));
    changed.wait(lock, [&] { return !wanted() || a.sentences.size() < kMostSentences; });
  }
  return wanted() && a.text.size() < options.most_answer_bytes;
}

void Loop::Impl::split_rest(LoopAnswer& a) {
  if (!speaker) return;
  std::vector<std::string> pieces;
  if (options.stream) {
    a.splitter.finish(pieces);
  } else {  // the whole answer at once, as far as a speaker takes it
    pieces = sentences_of_length(a.text, Speaker::kMostTextBytes);
  }
  add_sentences(a, std::move(pieces));
}

void Loop::Impl::add_sentences(LoopAnswer& a, std::vector<std::string> pieces) {
  if (pieces.empty()) return;
  for (auto& piece : pieces) {
    a.split += piece.size();
    a.sentences.push_back({std::move(piece), a.split});
  }
  changed.notify_all();
}

bool Loop::Impl::may_speak() const {
  if (!current || !current->wanted() || current->sentences.empty()) return false;
  return current->committed || current->begun == 0;  // more than a sentence is not made on a guess
}

bool Loop::Impl::too_far_ahead() const {
  return options.ahead.count() > 0 && current->play_end - Clock::now() > options.ahead;
}

void Loop::Impl::speak() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [&] { return quit || may_speak(); });
    if (quit) return;
    if (too_far_ahead()) {
      changed.wait_for(lock, kPaceTick);
      continue;
    }
    const auto taken = current;
    speak_sentence(*taken, lock);
  }
}

void Loop::Impl::speak_sentence(LoopAnswer& a, std::unique_lock<std::mutex>& lock) {
  const auto sentence = std::move(a.sentences.front());
  a.sentences.pop_front();
  ++a.begun;
  a.speaking = true;
  changed.notify_all();        // there is room for the model's text
  std::vector<int16_t> whole;  // where it is told at once
  Status status;
  if (const auto text = speakable(sentence.text); !text.empty()) {
    tell(a, {.kind = Event::Kind::kSentence, .text = sentence.text});
    lock.unlock();
    const AudioSink sink = [&](std::span<const int16_t> samples) { return take_audio(a, samples, whole); };
    status = speaker->speak(text, sink, a.stop.get_token());
    lock.lock();
  }
  a.speaking = false;
  changed.notify_all();
  if (!a.wanted() || quit) return;
  if (!whole.empty()) tell(a, {.kind = Event::Kind::kAudio}, std::move(whole));
  a.marks.push_back({a.made, sentence.end});
  if (!status) {
    a.error = status.error();
    a.text_done = true;  // the model's sink wants no more
    a.sentences.clear();
  }
  end_answer(a);
}

bool Loop::Impl::take_audio(LoopAnswer& a, std::span<const int16_t> samples, std::vector<int16_t>& whole) {
  const std::lock_guard lock(mutex);
  if (!a.wanted() || quit) return false;
  a.made += samples.size();
  if (!options.stream)
    whole.insert(whole.end(), samples.begin(), samples.end());
  else
    tell(a, {.kind = Event::Kind::kAudio}, {samples.begin(), samples.end()});
  return true;
}

}  // namespace onebit::voice
