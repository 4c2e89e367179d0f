#include "format/gguf_metadata.h"

#include <nlohmann/json.hpp>

#include "format/byte_alphabet.h"
#include "format/ggml_pre_tokenizer.h"

namespace onebit {
namespace {

/// In single quotes.
std::string jinja_text(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + "'";
}

/// As parse_chat_description reads it.
std::string description_of(const ChatFormat& format) {
  nlohmann::json json;
  const auto add = [&](const char* role, const ChatFormat::Turn& turn) { json[role] = {turn.before, turn.after}; };
  if (format.has_system) add("system", format.system);
  add("user", format.user);
  add("assistant", format.assistant);
  json["bos"] = format.begin_with_bos;
  json["trim"] = format.trim;
  return json.dump();
}

void add_vocabulary(GgufMetadata& m, const TokenizerData& data) {
  constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<bool> added(data.tokens.size());
  for (const auto* ids : {&data.added, &data.added_after_nfc})
    for (const TokenId id : *ids) added[static_cast<size_t>(id)] = true;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const auto& token = data.tokens[id];
    const bool plain = data.special[id] || added[id];  // as it is, not in the alphabet
    tokens.push_back(token.empty() ? fmt::format("<|unused_{}|>", id) : plain ? token : bytes_to_alphabet(token));
    types.push_back(token.empty() ? kUnused : data.special[id] ? kControl : added[id] ? kUserDefined : kNormal);
  }
  const auto text = [&](TokenId id) { return bytes_to_alphabet(data.tokens[static_cast<size_t>(id)]); };
  for (const auto& merge : data.merges) merges.push_back(text(merge.left) + " " + text(merge.right));
  m.add("tokenizer.ggml.model", "gpt2");
  m.add("tokenizer.ggml.pre", ggml_pre_tokenizer_name(data));
  m.add("tokenizer.ggml.tokens", tokens);
  m.add("tokenizer.ggml.token_type", types);
  m.add("tokenizer.ggml.merges", merges);
  m.add("onebit.ignore_merges", data.ignore_merges);
  m.add("onebit.nfc", data.nfc);
  if (!data.added_after_nfc.empty()) m.add("onebit.added_after_nfc", data.added_after_nfc);
}

void add_tokenizer(GgufMetadata& m, const TokenizerData& data) {
  add_vocabulary(m, data);
  if (data.bos >= 0) m.add("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(data.bos));
  m.add("tokenizer.ggml.add_bos_token", data.bos >= 0);
  if (!data.stop_tokens.empty()) m.add("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(data.stop_tokens.back()));
  m.add("onebit.stop_tokens", data.stop_tokens);
  m.add("onebit.chat_layout", name_of(data.chat.layout));
  if (data.chat.layout == ChatLayout::kNone) return;
  if (data.chat.layout == ChatLayout::kDescribed) m.add("onebit.chat_format", description_of(data.chat.described));
  m.add("tokenizer.chat_template", jinja_of(data.chat.format()));
}

}  // namespace

std::string jinja_of(const ChatFormat& format) {
  std::string out = format.begin_with_bos ? "{{ bos_token }}" : "";
  out += "{% for message in messages %}";
  const std::string content = format.trim ? "message['content'] | trim" : "message['content']";
  const auto turn = [&](const char* role, const ChatFormat::Turn& words, const char* keyword) {
    out += fmt::format("{{% {} message['role'] == '{}' %}}{{{{ {} }}}}{{{{ {} }}}}{{{{ {} }}}}", keyword, role,
                       jinja_text(words.before), content, jinja_text(words.after));
  };
  turn("user", format.user, "if");
  turn("assistant", format.assistant, "elif");
  if (format.has_system) turn("system", format.system, "elif");
  return out + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ " + jinja_text(format.assistant.before) +
         " }}{% endif %}";
}

GgufMetadata gguf_metadata_of(const H1bFile& model, const TokenizerData& tokenizer,
                              const GgufArchitecture& architecture) {
  const auto& c = model.config();
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", architecture.name, name); };
  const auto theta = static_cast<float>(c.rope_theta);
  GgufMetadata m;
  m.add("general.architecture", architecture.name);
  m.add("general.name", model.provenance("name"));
  if (!model.provenance("licence").empty()) m.add("general.license", model.provenance("licence"));
  m.add("general.alignment", static_cast<uint32_t>(gguf::kDefaultAlignment));
  m.add(key("vocab_size"), c.vocabulary);
  m.add(key("context_length"), c.context);
  m.add(key("embedding_length"), c.hidden);
  m.add(key("block_count"), c.layers);
  m.add(key("feed_forward_length"), c.ffn);
  m.add(key("attention.head_count"), c.heads);
  m.add(key("attention.head_count_kv"), c.kv_heads);
  m.add(key("attention.key_length"), c.head_dim);
  m.add(key("attention.value_length"), c.head_dim);
  m.add(key("attention.layer_norm_rms_epsilon"), c.rms_epsilon);
  m.add(key("rope.dimension_count"), c.head_dim);
  m.add(key("rope.freq_base"), theta);
  if (static_cast<double>(theta) != c.rope_theta) m.add("onebit.rope_theta", c.rope_theta);
  if (architecture.activation != c.activation) m.add("onebit.activation", name_of(c.activation));
  if (c.pooling != Pooling::kNone) m.add("onebit.pooling", static_cast<uint32_t>(c.pooling));
  add_tokenizer(m, tokenizer);
  return m;
}

}  // namespace onebit
