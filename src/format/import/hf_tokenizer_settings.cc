#include "format/import/hf_tokenizer_settings.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "format/import/json_fields.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr std::string_view kLlama3Regex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kQwen2Regex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

constexpr const char* kBlock = "\u2581";  // SentencePiece's space

/// The field's type; empty where it has none.
std::string_view type_of(const json* object) {
  const json* type = object != nullptr && object->is_object() ? find_field(*object, "type") : nullptr;
  return type != nullptr && type->is_string() ? std::string_view(type->get_ref<const std::string&>())
                                              : std::string_view();
}

/// The elements of a Sequence; where it is none, itself or, if it is absent, nothing.
Result<std::span<const json>> sequence_of(const json* object, const std::string& where, const char* elements) {
  if (object == nullptr) return std::span<const json>();
  if (type_of(object) != "Sequence") return std::span(object, 1);
  RETURN_IF_ERROR(check_keys(*object, where, {"type", elements}));
  const json* array = find_field(*object, elements);
  if (array == nullptr || !array->is_array()) return fail("{}.{}: expected an array", where, elements);
  const auto& parts = array->get_ref<const json::array_t&>();
  return std::span(parts.data(), parts.size());
}

/// Splits by a pattern, then writes bytes as their printable stand-ins.
Status read_split(const json& pre_tokenizer, const std::string& where, TokenizerData& data) {
  RETURN_IF_ERROR(check_keys(pre_tokenizer, where, {"type", "pretokenizers"}));
  RETURN_IF_ERROR(check_value(pre_tokenizer, where, "type", "Sequence"));
  const json* parts = find_field(pre_tokenizer, "pretokenizers");
  if (parts == nullptr || !parts->is_array() || parts->size() != 2)
    return fail("{}.pretokenizers: expected two, a Split and a ByteLevel as LLaMA-3 and Qwen2 have them", where);

  const std::string split = where + ".pretokenizers[0]";
  RETURN_IF_ERROR(check_keys((*parts)[0], split, {"type", "pattern", "behavior", "invert"}));
  RETURN_IF_ERROR(check_value((*parts)[0], split, "type", "Split"));
  const json* pattern = find_field((*parts)[0], "pattern");
  if (pattern != nullptr && *pattern == json{{"Regex", kQwen2Regex}}) {
    data.pre_tokenizer = PreTokenizer::kQwen2;
  } else {
    RETURN_IF_ERROR(check_value((*parts)[0], split, "pattern", json{{"Regex", kLlama3Regex}}));
  }
  RETURN_IF_ERROR(check_value((*parts)[0], split, "behavior", "Isolated"));
  RETURN_IF_ERROR(check_unset((*parts)[0], split, "invert", {false}));

  const std::string bytes = where + ".pretokenizers[1]";
  RETURN_IF_ERROR(check_keys((*parts)[1], bytes, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  RETURN_IF_ERROR(check_value((*parts)[1], bytes, "type", "ByteLevel"));
  RETURN_IF_ERROR(check_value((*parts)[1], bytes, "add_prefix_space", false));
  return check_value((*parts)[1], bytes, "use_regex", false);
}

Status read_byte_level(const json& root, const std::string& path, TokenizerData& data) {
  const std::string normalizer = field_path(path, "normalizer");
  ASSIGN_OR_RETURN(const auto steps, sequence_of(find_field(root, "normalizer"), normalizer, "normalizers"));
  for (const json& step : steps) {
    RETURN_IF_ERROR(check_keys(step, normalizer, {"type"}));
    RETURN_IF_ERROR(check_value(step, normalizer, "type", "NFC"));
    data.nfc = true;
  }

  const std::string where = field_path(path, "pre_tokenizer");
  const json* pre_tokenizer = find_field(root, "pre_tokenizer");
  if (pre_tokenizer == nullptr) return fail("{}: missing; this version supports LLaMA-3's, GPT-2's and Qwen2's", where);
  if (type_of(pre_tokenizer) == "ByteLevel") {  // GPT-2's pattern comes with it
    RETURN_IF_ERROR(check_keys(*pre_tokenizer, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    RETURN_IF_ERROR(check_value(*pre_tokenizer, where, "add_prefix_space", false));
    RETURN_IF_ERROR(check_unset(*pre_tokenizer, where, "use_regex", {true}));
    data.pre_tokenizer = PreTokenizer::kGpt2;
  } else {
    RETURN_IF_ERROR(read_split(*pre_tokenizer, where, data));
  }
  if (const json* decoder = find_field(root, "decoder")) {
    if (!decoder->is_object()) return fail("{}: decoder: found {}, expected an object", path, shown_json(*decoder));
    RETURN_IF_ERROR(check_value(*decoder, field_path(path, "decoder"), "type", "ByteLevel"));
  }
  return {};
}

/// As LLaMA-2's file has it: a block before each stretch of text, then one for each space.
Status read_block_normalizer(const json* object, const std::string& where, TokenizerData& data) {
  ASSIGN_OR_RETURN(auto steps, sequence_of(object, where, "normalizers"));
  if (!steps.empty() && type_of(steps.data()) == "Prepend") {
    if (steps[0] != json{{"type", "Prepend"}, {"prepend", kBlock}})
      return fail("{}: found {}, this version supports U+2581 there", where, shown_json(steps[0]));
    data.space_prefix = SpacePrefix::kStretch;
    steps = steps.subspan(1);
  }
  const json replace{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlock}};
  if (steps.size() != 1 || steps[0] != replace)
    return fail("{}: found {}, this version supports U+2581 instead of each space", where,
                object == nullptr ? "nothing" : shown_json(*object));
  return {};
}

/// As newer files have it: one pre-tokenizer for both.
Status read_metaspace(const json& object, const std::string& where, TokenizerData& data) {
  RETURN_IF_ERROR(check_keys(object, where, {"type", "replacement", "prepend_scheme", "split"}));
  RETURN_IF_ERROR(check_value(object, where, "type", "Metaspace"));
  RETURN_IF_ERROR(check_value(object, where, "replacement", kBlock));
  RETURN_IF_ERROR(check_value(object, where, "split", false));
  const json* scheme = find_field(object, "prepend_scheme");
  constexpr std::array<std::pair<const char*, SpacePrefix>, 3> kSchemes = {
      {{"always", SpacePrefix::kStretch}, {"first", SpacePrefix::kText}, {"never", SpacePrefix::kNone}}};
  const auto known = std::find_if(kSchemes.begin(), kSchemes.end(),
                                  [&](const auto& one) { return scheme != nullptr && *scheme == one.first; });
  if (known == kSchemes.end())
    return fail("{}.prepend_scheme: found {}, this version supports always, first and never", where,
                scheme == nullptr ? "nothing" : shown_json(*scheme));
  data.space_prefix = known->second;
  data.prefix_unless_space = data.space_prefix != SpacePrefix::kNone;
  return {};
}

Status read_sentencepiece(const json& root, const std::string& path, TokenizerData& data) {
  data.pre_tokenizer = PreTokenizer::kSentencePiece;
  const json* normalizer = find_field(root, "normalizer");
  const json* pre_tokenizer = find_field(root, "pre_tokenizer");
  if (pre_tokenizer != nullptr) {
    RETURN_IF_ERROR(check_unset(root, path, "normalizer"));
    RETURN_IF_ERROR(read_metaspace(*pre_tokenizer, field_path(path, "pre_tokenizer"), data));
  } else {
    RETURN_IF_ERROR(read_block_normalizer(normalizer, field_path(path, "normalizer"), data));
  }
  const json* decoder = find_field(root, "decoder");
  if (decoder == nullptr) return {};
  const std::string where = field_path(path, "decoder");
  ASSIGN_OR_RETURN(const auto steps, sequence_of(decoder, where, "decoders"));
  std::vector<json> expected = {{{"type", "Replace"}, {"pattern", {{"String", kBlock}}}, {"content", " "}},
                                {{"type", "ByteFallback"}},
                                {{"type", "Fuse"}}};
  if (data.space_prefix != SpacePrefix::kNone)
    expected.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  if (!std::equal(steps.begin(), steps.end(), expected.begin(), expected.end()))
    return fail("{}: found {}, this version supports LLaMA-2's", where, shown_json(*decoder));
  return {};
}

Status check_model(const json& model, const std::string& where, bool characters) {
  RETURN_IF_ERROR(check_keys(model, where,
                             {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  RETURN_IF_ERROR(check_value(model, where, "type", "BPE"));
  RETURN_IF_ERROR(check_unset(model, where, "dropout", {0, 0.0}));
  if (!characters) RETURN_IF_ERROR(check_unset(model, where, "unk_token"));  // with all bytes there, nothing is unknown
  RETURN_IF_ERROR(check_unset(model, where, "continuing_subword_prefix", {""}));
  RETURN_IF_ERROR(check_unset(model, where, "end_of_word_suffix", {""}));
  RETURN_IF_ERROR(check_unset(model, where, "byte_fallback", {false, true}));
  if (characters) return check_unset(model, where, "ignore_merges", {false});
  return check_unset(model, where, "ignore_merges", {false, true});
}

}  // namespace

Status read_hf_tokenizer_settings(const json& root, const std::string& path, TokenizerData& data) {
  RETURN_IF_ERROR(check_keys(root, path,
                             {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                              "post_processor", "decoder", "model"}));
  RETURN_IF_ERROR(check_unset(root, path, "version", {"1.0"}));
  RETURN_IF_ERROR(check_unset(root, path, "truncation"));
  RETURN_IF_ERROR(check_unset(root, path, "padding"));
  const json* model = find_field(root, "model");
  if (model == nullptr) return fail("{}: model: missing", path);
  const std::string where = field_path(path, "model");
  if (!model->is_object()) return fail("{}: found {}, expected an object", where, shown_json(*model));
  const json* byte_fallback = find_field(*model, "byte_fallback");
  const bool characters = byte_fallback != nullptr && *byte_fallback == true;
  RETURN_IF_ERROR(check_model(*model, where, characters));
  const json* ignore_merges = find_field(*model, "ignore_merges");
  data.ignore_merges = ignore_merges != nullptr && *ignore_merges == true;
  return characters ? read_sentencepiece(root, path, data) : read_byte_level(root, path, data);
}

}  // namespace onebit
