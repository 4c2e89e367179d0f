#include "1bit-server/settings.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <sstream>

#include "version.h"

namespace onebit::server {
namespace {

template <class Duration>
CLI::Option* add_seconds(CLI::App& app, const char* name, Duration& value, const char* help) {
  return app
      .add_option_function<int64_t>(
          name, [&value](int64_t seconds) { value = std::chrono::seconds(seconds); }, help)
      ->check(CLI::Range(int64_t{std::string_view(name) == "--drain-time" ? 0 : 1}, int64_t{86400}))
      ->default_str(std::to_string(std::chrono::duration_cast<std::chrono::seconds>(value).count()))
      ->type_name("SECONDS");
}

/// Empty where `text` names devices.
std::string device_error(const std::string& text) {
  const auto devices = devices_by_name(text);
  return devices ? std::string() : devices.error().message;
}

struct Words {
  std::string kv = "f16", engine = "gen-2", device = "auto", fallback = "cpu", weights = "auto";
  bool open = false, print_config = false;
  uint64_t kv_megabytes = 0, models_megabytes = 0;
  int64_t model_idle = 300;
  std::vector<std::string> more_models;  // NAME=FILE
  std::string tts_program;
};

void add_models(CLI::App& app, Settings& s, Words& words) {
  auto& o = s.options;
  app.add_option("--models", o.models_folder,
                 "A folder: each .h1b file in it is a model, loaded when it is asked for by name")
      ->envname("ONEBIT_MODELS")
      ->type_name("FOLDER");
  app.add_option("--add-model", words.more_models,
                 "Another model, loaded when it is asked for by this name (several: again)")
      ->type_name("NAME=FILE");
  app.add_flag("--any-model", o.any_model, "A name of no model means the first one, for clients that insist on theirs");
  app.add_option("--models-memory", words.models_megabytes,
                 "MB for all models that are loaded, with their keys and values; who was not used for longest goes; 0: "
                 "no limit")
      ->capture_default_str();
  app.add_option("--model-idle", words.model_idle,
                 "Unused for so long, a model that was loaded on demand goes; 0: never")
      ->check(CLI::Range(int64_t{0}, int64_t{31'536'000}))
      ->capture_default_str()
      ->type_name("SECONDS");
}

/// Empty, or what is wrong.
std::string take_models(Settings& s, const Words& words) {
  for (const auto& text : words.more_models) {
    const size_t at = text.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == text.size())
      return fmt::format("--add-model: '{}' is not NAME=FILE", text);
    s.options.more_models.emplace_back(text.substr(0, at), text.substr(at + 1));
  }
  s.options.models_bytes = words.models_megabytes * 1000000;
  s.options.model_idle = std::chrono::seconds(words.model_idle);
  const auto& o = s.options;
  if (o.model_path.empty() && o.more_models.empty() && o.models_folder.empty())
    return "--model is required (or --add-model, or --models); --help lists all settings";
  return {};
}

void add_model(CLI::App& app, Settings& s, Words& words) {
  auto& o = s.options;
  app.add_option("-m,--model", o.model_path, "The model that is always there, an .h1b file")
      ->envname("ONEBIT_MODEL")
      ->type_name("FILE");
  app.add_option("--model-name", o.model_name, "Its name as clients see it; the file's own where absent")
      ->envname("ONEBIT_MODEL_NAME");
  app.add_option("--kv", words.kv, "How keys and values are kept: f16, q8 (half the memory) or f32")
      ->check(CLI::IsMember({"f16", "q8", "f32"}))
      ->capture_default_str();
  app.add_option("--engine", words.engine, "gen-2, or reference: the same bits from plain scalar code")
      ->check(CLI::IsMember({"gen-2", "reference"}))
      ->capture_default_str();
  app.add_option("--device", words.device,
                 "What gen-2 computes on: auto (a GPU where there is one), cpu, cuda:N, hip:N, or several GPUs that "
                 "share the requests: cuda:0,cuda:1 or cuda:all")
      ->check(CLI::Validator([](std::string& text) { return device_error(text); }, ""))
      ->capture_default_str();
  app.add_option("--device-fallback", words.fallback,
                 "What computes once the last GPU has failed: cpu, which goes on with the answers under way, or none: "
                 "requests fail")
      ->check(CLI::IsMember({"cpu", "none"}))
      ->capture_default_str();
  app.add_option("--gpu-weights", words.weights,
                 "How a GPU gets the weights: auto (in place where it shares the host's memory, else copied) or copy")
      ->check(CLI::IsMember({"auto", "copy"}))
      ->capture_default_str();
  app.add_option("-t,--threads", o.model.threads, "Threads that compute; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option(
         "--kv-memory", words.kv_megabytes,
         "Memory for keys and values in MB, of each device; 0: enough for four full contexts (GPUs: 64, at most "
         "a quarter of what is free)")
      ->capture_default_str();
  app.add_option("--kv-folder", o.kv_folder, "Where /kv/save keeps conversations; without it there are no such files")
      ->type_name("FOLDER");
  app.add_option("--max-running", o.engine.scheduler.most_running, "Requests that share steps")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  app.add_flag("!--no-prefix-cache", o.engine.scheduler.prefix_cache, "Forget every prompt when its answer is done");
  app.add_flag(
      "--share-prefixes", o.share_prefixes,
      "All keys share what is remembered of prompts, which tells each what others asked; else each has its own");
}

void add_network(CLI::App& app, Settings& s, Words& words) {
  auto& o = s.options;
  app.add_option("--host", o.host, "Address to listen at")->envname("ONEBIT_HOST")->capture_default_str();
  app.add_option("-p,--port", o.port, "Port; 0: any that is free")->envname("ONEBIT_PORT")->capture_default_str();
  app.add_option("--api-key", s.api_keys, "A key that clients must send (several: give it again); better in a file")
      ->envname("ONEBIT_API_KEY")
      ->type_name("KEY");
  app.add_option("--api-key-file", s.api_key_file, "A file of keys, one a line; SIGHUP reads it again")
      ->envname("ONEBIT_API_KEY_FILE")
      ->type_name("FILE");
  app.add_flag("--listen-without-key", words.open, "Listen beyond this machine though anybody could use it");
  app.add_option("--cors-origin", o.cors_origin, "Web pages of this origin may ask (* for all); none where absent")
      ->type_name("ORIGIN");
  app.add_option("--allow-host", o.allowed_hosts,
                 "A name that requests may have in Host, beside this machine's own, where no key is needed")
      ->type_name("NAME");
}

void add_voice(CLI::App& app, Settings& s, Words& words) {
  auto& v = s.options.voice;
  const auto* group = "Voice (docs/voice.md)";
  app.add_option("--stt", v.recognizer.engine,
                 "What recognises speech: pocketsphinx, whisper (whisper.cpp's server) or openai (its protocol)")
      ->check(CLI::IsMember({"pocketsphinx", "whisper", "openai"}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--stt-url", v.recognizer.url, "Where that server is")->type_name("URL")->group(group);
  app.add_option("--stt-key", v.recognizer.key, "Its API key")
      ->envname("ONEBIT_STT_KEY")
      ->type_name("KEY")
      ->group(group);
  app.add_option("--stt-model", v.recognizer.model, "The model that it is asked for")
      ->group(group)
      ->capture_default_str();
  app.add_option("--stt-language", v.recognizer.language, "Language that is spoken, such as en, for servers")
      ->group(group);
  app.add_option("--stt-language-model", v.recognizer.language_model, "Another language model for pocketsphinx")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--stt-dictionary", v.recognizer.dictionary, "Another dictionary for pocketsphinx")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--tts", v.speaker.engine, "What speaks: flite, espeak-ng (a program) or openai (its protocol)")
      ->check(CLI::IsMember({"flite", "espeak-ng", "openai"}))
      ->group(group)
      ->capture_default_str();
  app.add_option("--voice", v.speaker.voice,
                 "Its voice where a client names none: flite has slt, rms, awb, kal; espeak-ng languages: en, de, …")
      ->group(group);
  app.add_option("--tts-url", v.speaker.url, "Where that server is")->type_name("URL")->group(group);
  app.add_option("--tts-key", v.speaker.key, "Its API key")->envname("ONEBIT_TTS_KEY")->type_name("KEY")->group(group);
  app.add_option("--tts-model", v.speaker.model, "The model that it is asked for")->group(group)->capture_default_str();
  app.add_option("--tts-program", words.tts_program,
                 "With --tts espeak-ng: another program that reads text and writes WAV")
      ->type_name("COMMAND")
      ->group(group);
  app.add_option("--voice-sessions", v.most,
                 "Conversations by voice, transcriptions and speeches at once; more get 429; 0: no voice")
      ->check(CLI::Range(0, 256))
      ->group(group)
      ->capture_default_str();
  add_seconds(app, "--voice-time", v.session, "For a conversation by voice")->group(group);
}

std::vector<std::string> words_in(const std::string& command) {
  std::istringstream in(command);
  return {std::istream_iterator<std::string>(in), {}};
}

/// Empty, or what is wrong.
std::string take_voice(Settings& s, const Words& words) {
  auto& v = s.options.voice;
  v.speaker.program = words_in(words.tts_program);
  if (!v.speaker.program.empty() && v.speaker.engine != "espeak-ng") return "--tts-program needs --tts espeak-ng";
  if (v.recognizer.engine != "pocketsphinx")
    if (const auto made = voice::make_recognizer(v.recognizer); !made) return "--stt-url: " + made.error().message;
  if (v.speaker.engine == "openai")
    if (const auto made = voice::make_speaker(v.speaker); !made) return "--tts-url: " + made.error().message;
  const auto own = voice::voices_of(v.speaker.engine);
  if (!own.empty() && v.speaker.voice.empty()) v.speaker.voice = own.front();
  if (!own.empty() && std::find(own.begin(), own.end(), v.speaker.voice) == own.end())
    return fmt::format("--voice: {} has no voice '{}'", v.speaker.engine, v.speaker.voice);
  return {};
}

void add_limits(CLI::App& app, Settings& s) {
  auto& o = s.options;
  app.add_option("--max-waiting", o.engine.most_waiting, "Requests that may wait for their first step; more get 429")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--max-connections", o.most_connections, "Open connections; more get 503")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--max-body", o.connection.body_bytes, "Bytes of a request's body")->capture_default_str();
  app.add_option("--max-bodies", o.most_bodies_bytes, "Bytes of the bodies of all requests; more get 503")
      ->capture_default_str();
  app.add_option("--max-header", o.connection.header_bytes, "Bytes of a request's header")->capture_default_str();
  app.add_option("--max-choices", o.api.choices, "n of a request")->check(CLI::Range(1, 128))->capture_default_str();
  app.add_option("--max-tokens", o.api.max_tokens, "Tokens of an answer; 0: what the context holds")
      ->capture_default_str();
  add_seconds(app, "--request-time", o.request_time, "For a whole answer");
  add_seconds(app, "--header-time", o.connection.header, "For a request's header, from its first byte");
  add_seconds(app, "--body-time", o.connection.body, "For a request's body");
  add_seconds(app, "--idle-time", o.connection.idle, "Between two requests of a connection");
  add_seconds(app, "--write-time", o.connection.write, "For a client to take what is sent");
  add_seconds(app, "--keep-alive", o.keep_alive, "Between comments in a stream that has nothing to say");
  add_seconds(app, "--drain-time", o.drain, "For answers under way when SIGTERM comes");
}

/// A printed configuration whose settings without a value are comments: as such a value, "" is an API key.
std::string without_absent(const std::string& config) {
  std::string out;
  for (size_t at = 0; at < config.size();) {
    const size_t end = std::min(config.find('\n', at), config.size() - 1) + 1;
    const auto line = config.substr(at, end - at);
    if (line.ends_with("=\"\"\n")) out += "# ";
    out += line;
    at = end;
  }
  return out;
}

}  // namespace

ParsedSettings parse_settings(int argc, char** argv) {
  ParsedSettings parsed;
  Settings& s = parsed.settings;
  Words words;
  CLI::App app("An OpenAI-compatible server for a ternary language model", "1bit-server");
  app.set_version_flag("--version", fmt::format("1bit-server {} ({})", kVersion, kCommit));
  app.set_config("--config", "", "A TOML file of these settings, by their long names; flags and environment come first")
      ->envname("ONEBIT_CONFIG");
  app.allow_config_extras(CLI::config_extras_mode::error);  // a name that is mistyped
  app.add_flag("--print-config", words.print_config, "Print all settings as such a file, and end")->configurable(false);
  add_model(app, s, words);
  add_models(app, s, words);
  add_network(app, s, words);
  add_limits(app, s);
  add_voice(app, s, words);
  app.footer(
      "SIGTERM lets answers under way end and takes no new ones; SIGHUP reads the API keys again.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  auto& o = s.options;
  o.model.kv_type = words.kv == "q8" ? KvType::kQ8 : words.kv == "f32" ? KvType::kF32 : KvType::kF16;
  o.model.engine = words.engine == "gen-2" ? onebit::Engine::kGen2 : onebit::Engine::kReference;
  o.model.devices = *devices_by_name(words.device);
  o.model.cpu_fallback = words.fallback == "cpu";
  o.model.gpu_in_place = words.weights == "auto";
  o.model.kv_bytes = words.kv_megabytes * 1000000;
  o.engine.scheduler.kv_bytes = words.kv_megabytes * 1000000;
  if (words.print_config) {
    fmt::print("{}", without_absent(app.config_to_str(true, true)));
    parsed.exit_code = 0;
  } else if (const auto wrong = take_models(s, words); !wrong.empty()) {
    fmt::print(stderr, "1bit-server: {}\n", wrong);
    parsed.exit_code = 2;
  } else if (const auto fault = take_voice(s, words); !fault.empty()) {
    fmt::print(stderr, "1bit-server: {}\n", fault);
    parsed.exit_code = 2;
  } else if (std::find(s.api_keys.begin(), s.api_keys.end(), "") != s.api_keys.end()) {
    fmt::print(stderr, "1bit-server: --api-key: an empty key\n");
    parsed.exit_code = 2;
  } else if (!is_loopback(o.host) && s.api_keys.empty() && s.api_key_file.empty() && !words.open) {
    fmt::print(stderr,
               "1bit-server: {} can be reached from other machines, and there is no API key: give --api-key-file, or\n"
               "--listen-without-key if anybody there may use it\n",
               o.host);
    parsed.exit_code = 2;
  }
  return parsed;
}

}  // namespace onebit::server
