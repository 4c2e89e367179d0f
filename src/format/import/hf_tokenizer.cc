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
#include "format/byte_alphabet.h"
#include "format/import/hf_tokenizer_settings.h"
#include "format/import/json.h"
#include "format/import/json_fields.h"
#include "format/import/sentencepiece_model.h"
#include "format/sentencepiece.h"

namespace onebit {
namespace {

using nlohmann::json;

using TokenIds = std::unordered_map<std::string_view, TokenId>;

Result<TokenId> read_id(const json& value, std::string_view where, size_t vocabulary) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= vocabulary)
    return fail("{}: found {}, expected an id from 0 to {} (the model's vocabulary)", where, shown_json(value),
                static_cast<int64_t>(vocabulary) - 1);
  return value.get<TokenId>();
}

/// The names of added tokens with their ids.
struct AddedTokens {
  TokenIds all, special;
};

/// An added token, to which it gives its name as bytes and a place among special or added tokens.
Status read_added_token(const json& token, TokenId id, const std::string& where, TokenizerData& data,
                        AddedTokens& added) {
  RETURN_IF_ERROR(
      check_keys(token, where, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  const json* content = find_field(token, "content");
  if (content == nullptr || !content->is_string() || content->get_ref<const std::string&>().empty())
    return fail("{}.content: expected the token's name", where);
  for (const auto* key : {"single_word", "lstrip", "rstrip"}) RETURN_IF_ERROR(check_unset(token, where, key, {false}));
  const auto flag = [&](const char* key) {
    const json* value = find_field(token, key);
    return value != nullptr && *value == true;
  };
  RETURN_IF_ERROR(check_unset(token, where, "special", {false, true}));
  RETURN_IF_ERROR(check_unset(token, where, "normalized", {false, true}));
  const auto& name = content->get_ref<const std::string&>();
  if (!data.tokens[id].empty()) return fail("{}.id: {} is given to {} already", where, id, shown_json(data.tokens[id]));
  if (!added.all.emplace(name, id).second) return fail("{}.content: {} is given twice", where, shown_json(name));
  data.tokens[id] = name;
  // A special token is looked for in text as it is, where at all. LLaMA-2's normalizer would put a space before every
  // name, and nobody means that: only NFC counts as normalizing them.
  if (flag("special")) {
    data.special[id] = true;
    added.special.emplace(name, id);
  } else {
    const bool after = flag("normalized") && data.pre_tokenizer != PreTokenizer::kSentencePiece;
    (after ? data.added_after_nfc : data.added).push_back(id);
  }
  return {};
}

Result<AddedTokens> read_added_tokens(const json& root, const std::string& path, TokenizerData& data) {
  AddedTokens added;
  const json* tokens = find_field(root, "added_tokens");
  if (tokens == nullptr) return added;
  if (!tokens->is_array()) return fail("{}: added_tokens: found {}, expected an array", path, shown_json(*tokens));
  for (size_t i = 0; i < tokens->size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", path, i);
    const json& token = (*tokens)[i];
    const json* id_value = token.is_object() ? find_field(token, "id") : nullptr;
    if (id_value == nullptr) return fail("{}.id: missing", where);
    ASSIGN_OR_RETURN(const TokenId id, read_id(*id_value, where + ".id", data.tokens.size()));
    RETURN_IF_ERROR(read_added_token(token, id, where, data, added));
  }
  std::sort(data.added.begin(), data.added.end());
  std::sort(data.added_after_nfc.begin(), data.added_after_nfc.end());
  return added;
}

/// The bytes that a name in the vocabulary stands for.
Result<std::string> token_bytes(const std::string& name, const std::string& where, TokenId id, TokenizerData& data) {
  if (data.pre_tokenizer != PreTokenizer::kSentencePiece) {
    auto bytes = alphabet_to_bytes(name);
    if (!bytes) return fail("{}: has a character that stands for no byte: this is not byte-level BPE", where);
    return *std::move(bytes);
  }
  const auto byte = byte_of_piece(name);
  if (!byte) return piece_bytes(name);
  data.byte_tokens[*byte] = id;
  return std::string(1, static_cast<char>(*byte));
}

/// Adds the vocabulary to `data`; returns the tokens, as the file writes them, with their ids.
Result<TokenIds> read_vocabulary(const json& model, const std::string& path, const TokenIds& added,
                                 TokenizerData& data) {
  const json* vocab = find_field(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) return fail("{}: model.vocab: expected an object", path);
  if (data.pre_tokenizer == PreTokenizer::kSentencePiece) data.byte_tokens.assign(256, -1);
  TokenIds ids;
  ids.reserve(vocab->size());
  for (const auto& [name, value] : vocab->items()) {
    const std::string where = fmt::format("{}: model.vocab: token {}", path, shown_json(name));
    ASSIGN_OR_RETURN(const TokenId id, read_id(value, where, data.tokens.size()));
    ids.emplace(name, id);
    if (const auto same = added.find(name); same != added.end()) {
      if (same->second == id) continue;
      return fail("{}: has id {}, but {} in added_tokens", where, id, same->second);
    }
    if (!data.tokens[id].empty()) return fail("{}: id {} is given to another token too", where, id);
    ASSIGN_OR_RETURN(data.tokens[id], token_bytes(name, where, id, data));
    if (data.tokens[id].empty()) return fail("{}: is empty", where);
  }
  const auto missing = std::find(data.byte_tokens.begin(), data.byte_tokens.end(), -1);
  if (missing != data.byte_tokens.end())
    return fail("{}: model.vocab: no token <0x{:02X}>, which byte_fallback needs", path,
                missing - data.byte_tokens.begin());
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
  const json* merges = find_field(model, "merges");
  if (merges == nullptr || !merges->is_array()) return fail("{}: model.merges: expected an array", path);
  data.merges.reserve(merges->size());
  std::string result;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const auto parts = merge_parts((*merges)[rank]);
    if (!parts)
      return fail("{}: model.merges[{}]: found {}, expected two tokens", path, rank, shown_json((*merges)[rank]));
    result.assign(parts->first).append(parts->second);
    std::array<TokenId, 3> found{};
    for (size_t i = 0; i < found.size(); ++i) {
      const auto it = ids.find(std::array<std::string_view, 3>{parts->first, parts->second, result}[i]);
      if (it == ids.end())
        return fail("{}: model.merges[{}]: {}: its {} is not in the vocabulary", path, rank,
                    shown_json((*merges)[rank]), std::array{"first part", "second part", "result"}[i]);
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
  const json* value = find_field(file.root, key);
  if (value != nullptr && value->is_object()) value = find_field(*value, "content");
  if (value == nullptr) return -1;
  const auto it = value->is_string() ? special.find(value->get_ref<const std::string&>()) : special.end();
  if (it == special.end()) return fail("{}: {}: {} is not a special token", file.path, key, shown_json(*value));
  return it->second;
}

/// The special tokens that the field gives as an id or an array of ids.
Result<std::vector<TokenId>> tokens_by_id(const Companion& file, const char* key, const TokenizerData& data) {
  std::vector<TokenId> out;
  const json* value = find_field(file.root, key);
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
  const json* value = find_field(tokenizer_config, "chat_template");
  if (value != nullptr && value->is_array()) {
    const auto is_default = [](const json& entry) {
      return entry.is_object() && entry.value("name", json()) == "default";
    };
    const auto it = std::find_if(value->begin(), value->end(), is_default);
    value = it == value->end() ? nullptr : find_field(*it, "template");
  }
  return value != nullptr && value->is_string() ? std::string_view(value->get_ref<const std::string&>())
                                                : std::string_view();
}

/// A tokenizer before its companions were asked, and the names of its special tokens.
struct Vocabulary {
  TokenizerData data;
  TokenIds special;  // of names in the parsed files
};

Result<Vocabulary> read_tokenizer_json(const json& root, const std::string& path, uint32_t vocabulary) {
  Vocabulary out;
  RETURN_IF_ERROR(read_hf_tokenizer_settings(root, path, out.data));
  out.data.tokens.resize(vocabulary);
  out.data.special.resize(vocabulary);
  const json& model = root["model"];
  ASSIGN_OR_RETURN(auto added, read_added_tokens(root, path, out.data));
  ASSIGN_OR_RETURN(const auto ids, read_vocabulary(model, path, added.all, out.data));
  RETURN_IF_ERROR(read_merges(model, path, ids, out.data));
  out.special = std::move(added.special);
  return out;
}

/// tokenizer.model, and the tokens that tokenizer_config.json adds to it.
Result<Vocabulary> read_tokenizer_model(const std::string& bytes, const std::string& path, uint32_t vocabulary,
                                        const Companion& tokenizer_config) {
  Vocabulary out;
  auto data = read_sentencepiece_model(bytes, vocabulary);
  if (!data) return fail_in(path, data.error());
  out.data = *std::move(data);
  AddedTokens added;
  if (const json* tokens = find_field(tokenizer_config.root, "added_tokens_decoder"); tokens && tokens->is_object()) {
    for (const auto& [number, token] : tokens->items()) {
      const std::string where = fmt::format("{}: added_tokens_decoder.{}", tokenizer_config.path, printable(number));
      ASSIGN_OR_RETURN(const TokenId id, read_id(json::parse(number, nullptr, false), where, vocabulary));
      if (!out.data.tokens[id].empty()) continue;  // a piece of the model
      RETURN_IF_ERROR(read_added_token(token, id, where, out.data, added));
    }
  }
  std::sort(out.data.added.begin(), out.data.added.end());
  for (size_t id = 0; id < out.data.tokens.size(); ++id)
    if (out.data.special[id]) out.special.emplace(out.data.tokens[id], static_cast<TokenId>(id));
  return out;
}

}  // namespace

Result<TokenizerData> import_hf_tokenizer(const HfTokenizerFiles& files, uint32_t vocabulary,
                                          const std::optional<ChatChoice>& chat) {
  const bool has_json = !files.tokenizer_json.empty() || files.tokenizer_model.empty();
  const std::string path =
      (std::filesystem::path(files.folder) / (has_json ? "tokenizer.json" : "tokenizer.model")).string();
  json root;  // its strings are the names in the vocabulary
  if (has_json) {
    ASSIGN_OR_RETURN(root, parse_json_object(files.tokenizer_json, path));
  }
  ASSIGN_OR_RETURN(const auto tokenizer_config,
                   read_companion(files, "tokenizer_config.json", files.tokenizer_config_json));
  ASSIGN_OR_RETURN(const auto generation_config,
                   read_companion(files, "generation_config.json", files.generation_config_json));
  ASSIGN_OR_RETURN(const auto config, read_companion(files, "config.json", files.config_json));
  ASSIGN_OR_RETURN(auto read, has_json
                                  ? read_tokenizer_json(root, path, vocabulary)
                                  : read_tokenizer_model(files.tokenizer_model, path, vocabulary, tokenizer_config));
  TokenizerData& data = read.data;
  const TokenIds& special = read.special;
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
  return std::move(read.data);
}

}  // namespace onebit
