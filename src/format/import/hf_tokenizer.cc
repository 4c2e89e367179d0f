#include "format/import/hf_tokenizer.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <unordered_map>

#include "base/utf8.h"
#include "format/import/json.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr std::string_view kLlama3Regex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

using TokenIds = std::unordered_map<std::string_view, TokenId>;

/// The field's value; null counts as absent.
const json* find(const json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

/// A value in an error message, in ASCII: a terminal may obey other characters (DEL, U+009B) or be fooled by them.
std::string shown(const json& value) {
  constexpr size_t kLimit = 80;
  std::string text = value.dump(-1, ' ', true);
  return text.size() <= kLimit ? text : text.substr(0, kLimit) + "…";
}

/// The name of a field in an error message: of the file itself ("…/tokenizer.json: model") or of an object in
/// it ("…/tokenizer.json: model.type").
std::string field(std::string_view where, std::string_view key) {
  return fmt::format("{}{}{}", where, where.ends_with(".json") ? ": " : ".", key);
}

/// A key that is not in `known` may change ids in a way that nobody here has heard of.
Status check_keys(const json& object, std::string_view where, std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return fail("{}: found {}, expected an object", where, shown(object));
  for (const auto& [key, value] : object.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return fail("{}: this version does not know this field", field(where, printable(key)));
  return {};
}

/// Refuses a field that is there with another value than those that change nothing.
Status check_unset(const json& object, std::string_view where, std::string_view key,
                   std::initializer_list<json> harmless = {}) {
  const json* value = find(object, key);
  if (value == nullptr || std::find(harmless.begin(), harmless.end(), *value) != harmless.end()) return {};
  return fail("{}: found {}, which this version does not support", field(where, key), shown(*value));
}

Status check_value(const json& object, std::string_view where, std::string_view key, const json& expected) {
  const json* value = find(object, key);
  if (value != nullptr && *value == expected) return {};
  return fail("{}: found {}, this version supports {}", field(where, key), value == nullptr ? "nothing" : shown(*value),
              shown(expected));
}

/// [Split by LLaMA-3's pattern, bytes to their printable stand-ins].
Status check_pre_tokenizer(const json& root, const std::string& path) {
  const std::string where = field(path, "pre_tokenizer");
  const json* pre_tokenizer = find(root, "pre_tokenizer");
  if (pre_tokenizer == nullptr) return fail("{}: missing; this version supports LLaMA-3's", where);
  RETURN_IF_ERROR(check_keys(*pre_tokenizer, where, {"type", "pretokenizers"}));
  RETURN_IF_ERROR(check_value(*pre_tokenizer, where, "type", "Sequence"));
  const json* parts = find(*pre_tokenizer, "pretokenizers");
  if (parts == nullptr || !parts->is_array() || parts->size() != 2)
    return fail("{}.pretokenizers: expected two, a Split and a ByteLevel as LLaMA-3 has them", where);

  const std::string split = where + ".pretokenizers[0]";
  RETURN_IF_ERROR(check_keys((*parts)[0], split, {"type", "pattern", "behavior", "invert"}));
  RETURN_IF_ERROR(check_value((*parts)[0], split, "type", "Split"));
  RETURN_IF_ERROR(check_value((*parts)[0], split, "pattern", json{{"Regex", kLlama3Regex}}));
  RETURN_IF_ERROR(check_value((*parts)[0], split, "behavior", "Isolated"));
  RETURN_IF_ERROR(check_unset((*parts)[0], split, "invert", {false}));

  const std::string bytes = where + ".pretokenizers[1]";
  RETURN_IF_ERROR(check_keys((*parts)[1], bytes, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  RETURN_IF_ERROR(check_value((*parts)[1], bytes, "type", "ByteLevel"));
  RETURN_IF_ERROR(check_value((*parts)[1], bytes, "add_prefix_space", false));
  return check_value((*parts)[1], bytes, "use_regex", false);
}

Status check_model(const json& model, const std::string& where) {
  RETURN_IF_ERROR(check_keys(model, where,
                             {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  RETURN_IF_ERROR(check_value(model, where, "type", "BPE"));
  RETURN_IF_ERROR(check_unset(model, where, "dropout", {0, 0.0}));
  RETURN_IF_ERROR(check_unset(model, where, "unk_token"));
  RETURN_IF_ERROR(check_unset(model, where, "continuing_subword_prefix", {""}));
  RETURN_IF_ERROR(check_unset(model, where, "end_of_word_suffix", {""}));
  RETURN_IF_ERROR(check_unset(model, where, "byte_fallback", {false}));
  return check_unset(model, where, "ignore_merges", {false, true});
}

/// Everything outside the vocabulary that could change ids. The post_processor is not looked at: it puts
/// special tokens around a text, which here its caller does.
Status check_settings(const json& root, const std::string& path) {
  RETURN_IF_ERROR(check_keys(root, path,
                             {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                              "post_processor", "decoder", "model"}));
  RETURN_IF_ERROR(check_unset(root, path, "version", {"1.0"}));
  RETURN_IF_ERROR(check_unset(root, path, "truncation"));
  RETURN_IF_ERROR(check_unset(root, path, "padding"));
  RETURN_IF_ERROR(check_unset(root, path, "normalizer"));
  RETURN_IF_ERROR(check_pre_tokenizer(root, path));
  if (const json* decoder = find(root, "decoder")) {
    if (!decoder->is_object()) return fail("{}: decoder: found {}, expected an object", path, shown(*decoder));
    RETURN_IF_ERROR(check_value(*decoder, field(path, "decoder"), "type", "ByteLevel"));
  }
  const json* model = find(root, "model");
  if (model == nullptr) return fail("{}: model: missing", path);
  return check_model(*model, field(path, "model"));
}

Result<TokenId> read_id(const json& value, std::string_view where, size_t vocabulary) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= vocabulary)
    return fail("{}: found {}, expected an id from 0 to {} (the model's vocabulary)", where, shown(value),
                static_cast<int64_t>(vocabulary) - 1);
  return value.get<TokenId>();
}

/// Marks special tokens and gives them their names as bytes; returns names -> ids.
Result<TokenIds> read_added_tokens(const json& root, const std::string& path, TokenizerData& data) {
  TokenIds ids;
  const json* added = find(root, "added_tokens");
  if (added == nullptr) return ids;
  if (!added->is_array()) return fail("{}: added_tokens: found {}, expected an array", path, shown(*added));
  for (size_t i = 0; i < added->size(); ++i) {
    const json& token = (*added)[i];
    const std::string where = fmt::format("{}: added_tokens[{}]", path, i);
    RETURN_IF_ERROR(
        check_keys(token, where, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    const json* content = find(token, "content");
    if (content == nullptr || !content->is_string() || content->get_ref<const std::string&>().empty())
      return fail("{}.content: expected the token's name", where);
    const json* id_value = find(token, "id");
    if (id_value == nullptr) return fail("{}.id: missing", where);
    ASSIGN_OR_RETURN(const TokenId id, read_id(*id_value, where + ".id", data.tokens.size()));
    // normalized makes no difference where there is no normalizer.
    for (const auto* key : {"single_word", "lstrip", "rstrip"})
      RETURN_IF_ERROR(check_unset(token, where, key, {false}));
    // An added token that is not special would be found in a user's text too, and there is no such kind here.
    RETURN_IF_ERROR(check_value(token, where, "special", true));
    const auto& name = content->get_ref<const std::string&>();
    if (data.special[id]) return fail("{}.id: {} is given to {} already", where, id, shown(data.tokens[id]));
    if (!ids.emplace(name, id).second) return fail("{}.content: {} is given twice", where, shown(name));
    data.tokens[id] = name;
    data.special[id] = true;
  }
  return ids;
}

/// tokenizer.json writes bytes as printable characters: those that Latin-1 prints as themselves, the others
/// as U+0100 and on, in order.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    byte_of_.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      byte_of_[printable ? static_cast<char32_t>(byte) : next++] = static_cast<int16_t>(byte);
    }
  }

  /// None where a character stands for no byte.
  std::optional<std::string> bytes(std::string_view text) const {
    std::string out;
    while (!text.empty()) {
      const auto character = utf8_front(text);
      if (character.length == 0 || character.code_point >= byte_of_.size() || byte_of_[character.code_point] < 0)
        return std::nullopt;
      out += static_cast<char>(byte_of_[character.code_point]);
      text.remove_prefix(character.length);
    }
    return out;
  }

 private:
  std::array<int16_t, 0x100 + 68> byte_of_{};  // 68 bytes are not printable
};

/// Adds the vocabulary to `data`; returns the tokens, as the file writes them, with their ids.
Result<TokenIds> read_vocabulary(const json& model, const std::string& path, const TokenIds& added,
                                 TokenizerData& data) {
  const json* vocab = find(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) return fail("{}: model.vocab: expected an object", path);
  const ByteAlphabet alphabet;
  TokenIds ids;
  ids.reserve(vocab->size());
  for (const auto& [name, value] : vocab->items()) {
    const std::string where = fmt::format("{}: model.vocab: token {}", path, shown(name));
    ASSIGN_OR_RETURN(const TokenId id, read_id(value, where, data.tokens.size()));
    ids.emplace(name, id);
    if (const auto same = added.find(name); same != added.end()) {
      if (same->second == id) continue;
      return fail("{}: has id {}, but {} in added_tokens", where, id, same->second);
    }
    if (!data.tokens[id].empty()) return fail("{}: id {} is given to another token too", where, id);
    auto bytes = alphabet.bytes(name);
    if (!bytes) return fail("{}: has a character that stands for no byte: this is not byte-level BPE", where);
    if (bytes->empty()) return fail("{}: is empty", where);
    data.tokens[id] = *std::move(bytes);
  }
  return ids;
}

/// "a b" or ["a", "b"].
std::optional<std::pair<std::string_view, std::string_view>> merge_parts(const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  if (!merge.is_string()) return std::nullopt;
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

Status read_merges(const json& model, const std::string& path, const TokenIds& ids, TokenizerData& data) {
  const json* merges = find(model, "merges");
  if (merges == nullptr || !merges->is_array()) return fail("{}: model.merges: expected an array", path);
  data.merges.reserve(merges->size());
  std::string result;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const auto parts = merge_parts((*merges)[rank]);
    if (!parts) return fail("{}: model.merges[{}]: found {}, expected two tokens", path, rank, shown((*merges)[rank]));
    result.assign(parts->first).append(parts->second);
    std::array<TokenId, 3> found{};
    for (size_t i = 0; i < found.size(); ++i) {
      const auto it = ids.find(std::array<std::string_view, 3>{parts->first, parts->second, result}[i]);
      if (it == ids.end())
        return fail("{}: model.merges[{}]: {}: its {} is not in the vocabulary", path, rank, shown((*merges)[rank]),
                    std::array{"first part", "second part", "result"}[i]);
      found[i] = it->second;
    }
    data.merges.push_back({found[0], found[1], found[2]});
  }
  return {};
}

/// One of the small files beside tokenizer.json; without fields where the folder has none.
struct Companion {
  std::string path;
  json root = json::object();
};

Result<Companion> read_companion(const HfTokenizerFiles& files, const char* name, const std::string& text) {
  Companion companion{(std::filesystem::path(files.folder) / name).string()};
  if (text.empty()) return companion;
  ASSIGN_OR_RETURN(companion.root, parse_json_object(text, companion.path));
  return companion;
}

/// The special token that the field names as "name" or {"content": "name"}; -1 where it is not set.
Result<TokenId> token_by_name(const Companion& file, const char* key, const TokenIds& special) {
  const json* value = find(file.root, key);
  if (value != nullptr && value->is_object()) value = find(*value, "content");
  if (value == nullptr) return -1;
  const auto it = value->is_string() ? special.find(value->get_ref<const std::string&>()) : special.end();
  if (it == special.end()) return fail("{}: {}: {} is not a special token", file.path, key, shown(*value));
  return it->second;
}

/// The special tokens that the field gives as an id or an array of ids.
Result<std::vector<TokenId>> tokens_by_id(const Companion& file, const char* key, const TokenizerData& data) {
  std::vector<TokenId> out;
  const json* value = find(file.root, key);
  if (value == nullptr) return out;
  const std::string where = fmt::format("{}: {}", file.path, key);
  for (const json& element : value->is_array() ? *value : json::array({*value})) {
    ASSIGN_OR_RETURN(const TokenId id, read_id(element, where, data.tokens.size()));
    if (!data.special[id]) return fail("{}: token {} is not special", where, id);
    out.push_back(id);
  }
  return out;
}

Result<TokenId> read_bos(const Companion& tokenizer_config, const Companion& config, const TokenizerData& data,
                         const TokenIds& special) {
  ASSIGN_OR_RETURN(const TokenId named, token_by_name(tokenizer_config, "bos_token", special));
  if (named >= 0) return named;
  ASSIGN_OR_RETURN(const auto ids, tokens_by_id(config, "bos_token_id", data));
  if (ids.size() > 1) return fail("{}: bos_token_id: found {} ids, expected one", config.path, ids.size());
  return ids.empty() ? -1 : ids[0];
}

/// The first <|…|> in a layout's words; empty where there is none.
std::string_view first_marker(std::string_view words) {
  const size_t begin = std::min(words.find("<|"), words.size());
  const size_t end = words.find("|>", begin);
  return end == std::string_view::npos ? std::string_view() : words.substr(begin, end + 2 - begin);
}

/// That the tokenizer has the markers of a layout that was asked for.
Status check_markers(const ChatChoice& chat, const std::string& path, const TokenIds& special) {
  if (chat.layout == ChatLayout::kNone) return {};
  const ChatFormat& format = chat.format();
  for (const auto* turn : {&format.system, &format.user, &format.assistant})
    for (std::string_view words : {std::string_view(turn->before), std::string_view(turn->after)})
      for (size_t begin = words.find("<|"); begin != std::string_view::npos; begin = words.find("<|")) {
        words.remove_prefix(begin);
        const auto marker = first_marker(words);
        if (marker.empty()) return fail("chat layout {}: a '<|' without its '|>'", name_of(chat.layout));
        if (!special.contains(marker))
          return fail("{}: added_tokens: no special token {}, which the {} chat layout needs", path, printable(marker),
                      name_of(chat.layout));
        words.remove_prefix(marker.size());
      }
  return {};
}

/// From the first file that says something, and what ends a turn of the chat layout.
Result<std::vector<TokenId>> read_stops(const Companion& tokenizer_config, const Companion& generation_config,
                                        const Companion& config, const TokenizerData& data, const TokenIds& special) {
  ASSIGN_OR_RETURN(auto stops, tokens_by_id(generation_config, "eos_token_id", data));
  if (stops.empty()) {
    ASSIGN_OR_RETURN(stops, tokens_by_id(config, "eos_token_id", data));
  }
  if (stops.empty()) {
    ASSIGN_OR_RETURN(const TokenId named, token_by_name(tokenizer_config, "eos_token", special));
    if (named >= 0) stops.push_back(named);
  }
  const auto turn_end = special.find(std::string(first_marker(data.chat.format().assistant.after)));
  if (data.chat.layout != ChatLayout::kNone && turn_end != special.end()) stops.push_back(turn_end->second);
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
  return stops;
}

/// A string, or the one named "default" of [{"name", "template"}].
std::string_view chat_template(const json& tokenizer_config) {
  const json* value = find(tokenizer_config, "chat_template");
  if (value != nullptr && value->is_array()) {
    const auto is_default = [](const json& entry) {
      return entry.is_object() && entry.value("name", json()) == "default";
    };
    const auto it = std::find_if(value->begin(), value->end(), is_default);
    value = it == value->end() ? nullptr : find(*it, "template");
  }
  return value != nullptr && value->is_string() ? std::string_view(value->get_ref<const std::string&>())
                                                : std::string_view();
}

/// A ChatML template that opens with a message of its own (Qwen's "You are …") or with a BOS is another layout.
bool is_plain_chatml(std::string_view jinja) {
  if (jinja.find("bos_token") != std::string_view::npos) return false;
  constexpr std::string_view kSystem = "<|im_start|>system";
  for (size_t at = jinja.find(kSystem); at != std::string_view::npos; at = jinja.find(kSystem, at + 1)) {
    auto rest = jinja.substr(at + kSystem.size());
    for (const std::string_view line_end : {"\\n", "\n"})  // as Jinja writes it, or as it is
      if (rest.starts_with(line_end)) rest.remove_prefix(line_end.size());
    const char next = rest.empty() ? '\'' : rest.front();
    if (next != '\'' && next != '"' && next != '{') return false;
  }
  return true;
}

}  // namespace

Result<TokenizerData> import_hf_tokenizer(const HfTokenizerFiles& files, uint32_t vocabulary,
                                          const std::optional<ChatChoice>& chat) {
  const std::string path = (std::filesystem::path(files.folder) / "tokenizer.json").string();
  ASSIGN_OR_RETURN(const json root, parse_json_object(files.tokenizer_json, path));
  ASSIGN_OR_RETURN(const auto tokenizer_config,
                   read_companion(files, "tokenizer_config.json", files.tokenizer_config_json));
  ASSIGN_OR_RETURN(const auto generation_config,
                   read_companion(files, "generation_config.json", files.generation_config_json));
  ASSIGN_OR_RETURN(const auto config, read_companion(files, "config.json", files.config_json));
  RETURN_IF_ERROR(check_settings(root, path));

  TokenizerData data;
  data.tokens.resize(vocabulary);
  data.special.resize(vocabulary);
  const json& model = root["model"];
  data.ignore_merges = model.value("ignore_merges", json(false)) == true;
  ASSIGN_OR_RETURN(const auto special, read_added_tokens(root, path, data));
  ASSIGN_OR_RETURN(const auto ids, read_vocabulary(model, path, special, data));
  RETURN_IF_ERROR(read_merges(model, path, ids, data));
  const auto jinja =
      files.chat_template_jinja.empty() ? chat_template(tokenizer_config.root) : files.chat_template_jinja;
  data.chat = chat.value_or(ChatChoice{recognise_chat_template(jinja)});
  if (const auto status = check_markers(data.chat, path, special); !status) {
    if (chat) return tl::unexpected(status.error());
    data.chat = {};  // only the template's words resemble the layout
  }
  ASSIGN_OR_RETURN(data.bos, read_bos(tokenizer_config, config, data, special));
  ASSIGN_OR_RETURN(data.stop_tokens, read_stops(tokenizer_config, generation_config, config, data, special));
  if (const auto status = validate(data); !status) return fail_in(path, status.error());
  return data;
}

Result<ChatFormat> parse_chat_description(std::string_view text, std::string_view path) {
  ASSIGN_OR_RETURN(const json root, parse_json_object(text, path));
  RETURN_IF_ERROR(check_keys(root, path, {"system", "user", "assistant", "bos", "trim"}));
  ChatFormat format;
  const auto read_turn = [&](const char* role, ChatFormat::Turn& turn) -> Status {
    const json* pair = find(root, role);
    const auto is_text = [](const json& value) { return value.is_string(); };
    if (pair == nullptr || !pair->is_array() || pair->size() != 2 || !std::all_of(pair->begin(), pair->end(), is_text))
      return fail("{}: {}: expected the two texts around the contents, [before, after]", path, role);
    turn = {(*pair)[0].get<std::string>(), (*pair)[1].get<std::string>()};
    return {};
  };
  format.has_system = find(root, "system") != nullptr;
  if (format.has_system) RETURN_IF_ERROR(read_turn("system", format.system));
  RETURN_IF_ERROR(read_turn("user", format.user));
  RETURN_IF_ERROR(read_turn("assistant", format.assistant));
  for (const auto& [key, flag] : {std::pair{"bos", &format.begin_with_bos}, {"trim", &format.trim}}) {
    const json* value = find(root, key);
    if (value == nullptr) continue;
    if (!value->is_boolean()) return fail("{}: {}: expected true or false", path, key);
    *flag = value->get<bool>();
  }
  return format;
}

ChatLayout recognise_chat_template(std::string_view jinja) {
  const auto has = [&](std::string_view marker) { return jinja.find(marker) != std::string_view::npos; };
  if (has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>")) return ChatLayout::kLlama3;
  if (has("capitalize") && has("<|eot_id|>") && has("Assistant: ")) return ChatLayout::kBitnet2B4T;
  if (has("<|im_start|>") && has("<|im_end|>") && !has("<|im_sep|>"))  // Phi-4 has the last
    return is_plain_chatml(jinja) ? ChatLayout::kChatml : ChatLayout::kNone;
  // Zephyr and Phi-3 have Falcon3's three markers too, but end a user's turn with one.
  const auto user = jinja.substr(std::min(jinja.find("<|user|>"), jinja.size()));
  const auto user_turn = user.substr(0, user.find("}}")).substr(std::min<size_t>(user.size(), 8));
  const bool ended = user_turn.find("eos_token") != std::string_view::npos ||
                     user_turn.find("<|") != std::string_view::npos || user_turn.find("</s>") != std::string_view::npos;
  if (!user.empty() && !ended && has("<|assistant|>") && has("<|system|>")) return ChatLayout::kFalcon3;
  return ChatLayout::kNone;
}

}  // namespace onebit
