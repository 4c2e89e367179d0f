#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/mapped_file.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/terminal.h"
#include "halo/voice_model.h"
#include "halo/voice_sound.h"
#include "voice/loop.h"
#include "voice/sentences.h"

namespace onebit::halo {
namespace {

using voice::Event;

constexpr const char* kRecord = "arecord -q -t raw -f S16_LE -c 1 -r {rate}";
constexpr const char* kPlay = "aplay -q -t raw -f S16_LE -c 1 -r {rate}";
constexpr uint32_t kRate = 16000;
constexpr double kMostAhead = 5;      // seconds of a file that may wait for the recogniser
constexpr size_t kMostSilence = 600;  // frames of 20 ms that may follow a recording

struct VoiceArguments {
  ModelArguments model;
  GenerateArguments generate;
  voice::RecognizerOptions recognizer;
  voice::SpeakerOptions speaker;
  std::vector<std::string> in;
  std::string out, system, speak, answer_text, tts_program;
  std::string record = kRecord, play = kPlay;
  uint32_t rate = kRate, silence_ms = 600, pause_ms = 200;
  bool json = false, transcribe = false, realtime = false, serial = false, no_barge_in = false, no_guess = false,
       alone = false;
};

std::vector<std::string> program_with_rate(std::string command, uint32_t rate) {
  if (const size_t at = command.find("{rate}"); at != std::string::npos) command.replace(at, 6, std::to_string(rate));
  return words_of(command);
}

/// Shows what happens, as lines of JSON or for a reader, and plays.
class Show {
 public:
  Show(const VoiceArguments& arguments, Playback* playback)
      : a_(arguments), playback_(playback), stream_(arguments.out == "-" ? stderr : stdout) {}

  void begin(const std::string& file) {
    const std::lock_guard lock(mutex_);
    file_ = file;
    begin_ = Event::Clock::now();
  }
  /// Called by the loop.
  void operator()(const Event& event) {
    const std::lock_guard lock(mutex_);
    switch (event.kind) {
      case Event::Kind::kAudio:
        if (playback_ != nullptr) playback_->play(event.audio);
        break;
      case Event::Kind::kInterrupted:
        if (playback_ != nullptr) playback_->stop();
        break;
      case Event::Kind::kDone:
        if (playback_ != nullptr) playback_->end_answer();
        break;
      case Event::Kind::kSpeechStopped:
        stopped_ = true;
        break;
      case Event::Kind::kError:
        ++errors_;
        break;
      default:
        break;
    }
    if (a_.json)
      json(event);
    else
      text(event);
    std::fflush(stream_);
  }
  /// Whether a turn's speech has ended since it was last asked.
  bool turn_ended() { return stopped_.exchange(false); }
  uint64_t errors() const { return errors_; }

 private:
  double since_begin(Event::Clock::time_point at) const {
    return std::chrono::duration<double, std::milli>(at - begin_).count();
  }
  void json(const Event& event) {
    nlohmann::json line{{"event", name_of(event.kind)},
                        {"turn", event.turn},
                        {"ms", since_begin(Event::Clock::now())},
                        {"made_ms", since_begin(event.at)}};
    if (!file_.empty()) line["file"] = file_;
    if (event.kind == Event::Kind::kSpeechStarted || event.kind == Event::Kind::kSpeechStopped)
      line["sample"] = event.sample;
    if (event.kind == Event::Kind::kAudio) line["samples"] = event.audio.size();
    if (!event.text.empty()) line["text"] = event.text;
    fmt::print(stream_, "{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  void text(const Event& event) {
    switch (event.kind) {
      case Event::Kind::kFinal:
        if (a_.transcribe)
          fmt::print(stream_, "{}\n", event.text);
        else if (!event.text.empty())
          fmt::print(stream_, "{} {}\n", bold(">", stream_), event.text);
        break;
      case Event::Kind::kText:
        fmt::print(stream_, "{}", event.text);
        wrote_ = true;
        break;
      case Event::Kind::kDone:
      case Event::Kind::kInterrupted:
        if (wrote_) fmt::print(stream_, "{}\n", event.kind == Event::Kind::kDone ? "" : dim(" [interrupted]", stream_));
        wrote_ = false;
        break;
      case Event::Kind::kError:
        if (wrote_) fmt::print(stream_, "\n");
        wrote_ = false;
        report(Error{event.text});
        break;
      default:
        break;
    }
  }

  const VoiceArguments& a_;
  Playback* playback_;
  std::FILE* stream_;
  std::mutex mutex_;
  std::string file_;
  Event::Clock::time_point begin_ = Event::Clock::now();
  std::atomic<bool> stopped_{false};
  std::atomic<uint64_t> errors_{0};
  bool wrote_ = false;
};

void wait_idle(voice::Loop& loop) {
  while (!interrupted() && !loop.wait_idle(std::chrono::milliseconds(100))) {
  }
}

/// A recording, at the pace of speech or as fast as it is understood; then each turn is answered before the next is
/// heard.
void push_file(voice::Loop& loop, Show& show, const voice::Audio& audio, bool realtime) {
  const auto begin = Event::Clock::now();
  const size_t frame = kRate / 50;
  for (size_t at = 0; at < audio.samples.size() && !interrupted(); at += frame) {
    const auto part = std::span<const int16_t>(audio.samples).subspan(at, std::min(frame, audio.samples.size() - at));
    if (realtime)
      std::this_thread::sleep_until(begin + std::chrono::microseconds((at + part.size()) * 1000000 / kRate));
    loop.push(part);
    if (realtime) continue;
    while (loop.pending() > kMostAhead && !interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (show.turn_ended()) wait_idle(loop);
  }
  // What a microphone would give after it: silence, until the speech has ended.
  const std::vector<int16_t> silence(frame);
  for (size_t n = 0; realtime && n < kMostSilence && !show.turn_ended() && !interrupted(); ++n) {
    const auto past = std::chrono::microseconds((audio.samples.size() + (n + 1) * frame) * 1000000 / kRate);
    std::this_thread::sleep_until(begin + past);
    loop.push(silence);
  }
  loop.end_turn();
  wait_idle(loop);
}

Status speak_text(const VoiceArguments& a, voice::Speaker& speaker, Playback& playback) {
  for (const auto& sentence : voice::sentences(a.speak)) {
    const auto text = voice::speakable(sentence);
    if (text.empty() || interrupted()) continue;
    const auto sink = [&](std::span<const int16_t> samples) { return playback.play(samples), !interrupted(); };
    RETURN_IF_ERROR(speaker.speak(text, sink, {}));
  }
  playback.end_answer();
  return playback.finish();
}

Status listen(const VoiceArguments& a, voice::Loop& loop, Show& show) {
  if (a.in.empty() || a.in == std::vector<std::string>{"-"}) {
    if (a.in.empty() && !a.json) fmt::print(stderr, "{}\n", dim("Speak; Ctrl-C ends.", stderr));
    const auto program = a.in.empty() ? program_with_rate(a.record, a.rate) : std::vector<std::string>();
    RETURN_IF_ERROR(read_raw(program, [&](std::span<const int16_t> samples) {
      loop.push(samples);
      // A pipe may be faster than speech; a microphone is not.
      while (!a.in.empty() && !a.realtime && loop.pending() > kMostAhead && !interrupted())
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return !interrupted();
    }));
    loop.end_turn();
    wait_idle(loop);
    return {};
  }
  for (const auto& path : a.in) {
    ASSIGN_OR_RETURN(const auto audio, voice::read_wav(path));
    show.begin(path);
    push_file(loop, show, resampled(audio, kRate), a.realtime);
  }
  return {};
}

Result<std::shared_ptr<voice::LanguageModel>> make_model(const VoiceArguments& a, Model& model) {
  ASSIGN_OR_RETURN(auto params, a.generate.resolve());
  if (a.answer_text.empty())
    return std::make_shared<voice::EngineModel>(model, voice::EngineModelOptions{std::move(params), a.system, !a.alone},
                                                spare_of(model));
  ASSIGN_OR_RETURN(const auto text, read_text_file(a.answer_text, 1 << 20));
  return std::make_shared<FixedTextModel>(model, std::move(params), text);
}

Status voice_command(VoiceArguments& a) {
  catch_interrupt();
  std::shared_ptr<voice::Speaker> speaker;
  if (!a.transcribe) {
    a.speaker.program = words_of(a.tts_program);
    ASSIGN_OR_RETURN(speaker, voice::make_speaker(a.speaker));
  }
  std::optional<Playback> playback;
  if (speaker) playback.emplace(Playback::Target{a.out, program_with_rate(a.play, a.speaker.rate)}, a.speaker.rate);
  if (!a.speak.empty()) {
    if (!speaker) return fail("--speak and --transcribe contradict each other");
    return speak_text(a, *speaker, *playback);
  }
  ASSIGN_OR_RETURN(std::shared_ptr<voice::Recognizer> recognizer, voice::make_recognizer(a.recognizer));
  std::optional<Model> model;
  std::shared_ptr<voice::LanguageModel> answers;
  if (!a.transcribe) {
    ASSIGN_OR_RETURN(auto opened, a.model.open());
    model.emplace(std::move(opened));
    ASSIGN_OR_RETURN(answers, make_model(a, *model));
  }
  const bool live = a.in.empty() || a.in.front() == "-";
  voice::LoopOptions options;
  options.input_rate = live ? a.rate : kRate;
  options.vad.silence = voice::Milliseconds(a.silence_ms);
  options.vad.pause = voice::Milliseconds(std::min(a.pause_ms, a.silence_ms));
  options.answer = !a.transcribe;
  options.barge_in = !a.no_barge_in;
  options.speculate = !a.no_guess;
  options.stream = !a.serial;
  if (!live && !a.realtime) options.ahead = std::chrono::seconds(0);
  Show show(a, playback ? &*playback : nullptr);
  {
    voice::Loop loop(recognizer, answers, speaker, options, [&](const Event& event) { show(event); });
    RETURN_IF_ERROR(listen(a, loop, show));
  }
  if (interrupted()) return {};
  if (playback) RETURN_IF_ERROR(playback->finish());
  if (show.errors() > 0) return fail("{} of the turns failed", show.errors());
  return {};
}

void add_sound_options(CLI::App& command, VoiceArguments& a) {
  const char* group = "Sound";
  command
      .add_option("--in", a.in,
                  "A recording (WAV; repeatable), or - for raw PCM16 on standard input; else the microphone")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--out", a.out, "Write the answers' speech to this WAV file, or - for raw PCM16 on standard output")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--rate", a.rate, "Samples a second of the microphone or of raw input")
      ->check(CLI::Range(voice::kLowestRate, voice::kHighestRate))
      ->group(group)
      ->capture_default_str();
  command.add_option("--out-rate", a.speaker.rate, "Samples a second of the answers' speech")
      ->check(CLI::Range(8000u, 48000u))
      ->group(group)
      ->capture_default_str();
  command.add_option("--record", a.record, "Program that records raw PCM16")
      ->type_name("COMMAND")
      ->group(group)
      ->capture_default_str();
  command.add_option("--play", a.play, "Program that plays raw PCM16")
      ->type_name("COMMAND")
      ->group(group)
      ->capture_default_str();
  command.add_option("--silence", a.silence_ms, "Milliseconds of silence after which speech has ended")
      ->check(CLI::Range(100u, 10000u))
      ->group(group)
      ->capture_default_str();
  command
      .add_option("--pause", a.pause_ms,
                  "Milliseconds of silence after which an answer is begun on what was understood")
      ->check(CLI::Range(50u, 10000u))
      ->group(group)
      ->capture_default_str();
  command
      .add_flag("--no-barge-in", a.no_barge_in,
                "Hear nothing while an answer plays: for loudspeakers that the microphone hears")
      ->group(group);
  command.add_flag("--realtime", a.realtime, "Hear recordings at the pace of speech")->group(group);
}

void add_engine_options(CLI::App& command, VoiceArguments& a) {
  const char* group = "Engines";
  command
      .add_option("--stt", a.recognizer.engine,
                  "What recognises speech: pocketsphinx, whisper (whisper.cpp's server) or openai")
      ->check(CLI::IsMember({"pocketsphinx", "whisper", "openai"}))
      ->group(group)
      ->capture_default_str();
  command.add_option("--stt-url", a.recognizer.url, "Where that server is")->type_name("URL")->group(group);
  command.add_option("--stt-key", a.recognizer.key, "Its API key")
      ->envname("HALO_STT_KEY")
      ->type_name("KEY")
      ->group(group);
  command.add_option("--stt-model", a.recognizer.model, "The model that it is asked for")
      ->group(group)
      ->capture_default_str();
  command.add_option("--stt-language-model", a.recognizer.language_model, "Another language model for pocketsphinx")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--stt-dictionary", a.recognizer.dictionary, "Another dictionary for pocketsphinx")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--language", a.recognizer.language, "Language that is spoken, such as en, for servers")
      ->group(group);
  command.add_option("--tts", a.speaker.engine, "What speaks: flite, espeak-ng (a program) or openai (a server)")
      ->check(CLI::IsMember({"flite", "espeak-ng", "openai"}))
      ->group(group)
      ->capture_default_str();
  command
      .add_option("--voice", a.speaker.voice, "Its voice: flite has slt, rms, awb, kal; espeak-ng languages: en, de, …")
      ->group(group);
  command.add_option("--speed", a.speaker.speed, "How fast it speaks; 1 is usual")
      ->check(CLI::Range(0.25, 4.0))
      ->group(group)
      ->capture_default_str();
  command.add_option("--tts-url", a.speaker.url, "Where that server is")->type_name("URL")->group(group);
  command.add_option("--tts-key", a.speaker.key, "Its API key")
      ->envname("HALO_TTS_KEY")
      ->type_name("KEY")
      ->group(group);
  command.add_option("--tts-model", a.speaker.model, "The model that it is asked for")
      ->group(group)
      ->capture_default_str();
  command
      .add_option("--tts-program", a.tts_program,
                  "With --tts espeak-ng: another program that reads text and writes WAV")
      ->type_name("COMMAND")
      ->group(group);
}

}  // namespace

void add_voice(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<VoiceArguments>();
  a->generate.params.sampling.temperature = voice::kVoiceTemperature;
  a->generate.params.max_tokens = 300;
  auto* command = app.add_subcommand("voice", "Talk with a model by voice: microphone in, loudspeaker out, or files");
  command->add_option("--system", a->system, "Instructions put before the conversation")->type_name("TEXT");
  command->add_flag("--transcribe", a->transcribe, "Only write what is said; no model, no answers");
  command->add_option("--speak", a->speak, "Only say this text; no model, no microphone")->type_name("TEXT");
  command->add_flag("--json", a->json, "A line of JSON for everything that happens, with its time in ms");
  command->add_flag("--alone", a->alone, "Each question is a conversation of its own");
  command->add_flag("--no-guess", a->no_guess, "Begin an answer only when speech has ended");
  const char* group = "For measuring";
  command->add_flag("--serial", a->serial, "One thing after the other: whole transcript, whole answer, whole speech")
      ->group(group);
  command
      ->add_option("--answer-text", a->answer_text,
                   "The model computes as usual, and what is said is this file's text, a piece for each of its tokens")
      ->type_name("FILE")
      ->group(group);
  add_sound_options(*command, *a);
  add_engine_options(*command, *a);
  a->model.add_to(*command);
  a->generate.add_to(*command);
  command->footer(
      "Examples:\n"
      "  halo voice                                   talk; headphones keep it from hearing itself\n"
      "  halo voice --in question.wav --out answer.wav\n"
      "  halo voice --transcribe --in talk.wav        what is said there\n"
      "  halo voice --speak \"Good morning.\" --voice rms --out morning.wav");
  command->callback([a, &exit_code] {
    if (auto status = voice_command(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
