#include "format/import/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/utf8.h"
#include "format/byte_alphabet.h"
#include "format/ggml_pre_tokenizer.h"
#include "format/import/hf_tokenizer.h"
#include "format/sentencepiece.h"

namespace onebit {
namespace {

/// tokenizer.ggml.token_type.
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

using GgufTokenIds = std::unordered_map<std::string_view, TokenId>;

class TokenizerReader {
 public:
  TokenizerReader(const GgufFile& file, std::vector<std::string>& notes) : file_(file), notes_(notes) {}

  Result<TokenizerData> read(uint32_t vocabulary, const std::optional<ChatChoice>& chat) {
    data_.tokens.resize(vocabulary);
    data_.special.resize(vocabulary);
    ASSIGN_OR_RETURN(const auto model, file_.text("tokenizer.ggml.model"));
    if (!model) return fail("{}: metadata tokenizer.ggml.model is missing: the file has no tokenizer", file_.path());
    if (*model == "llama") {
      RETURN_IF_ERROR(read_pieces(vocabulary));
    } else if (*model == "gpt2") {
      RETURN_IF_ERROR(read_byte_level());
      RETURN_IF_ERROR(read_pre_tokenizer());
    } else {
      return fail(
          "{}: metadata tokenizer.ggml.model: found '{}', this version reads gpt2 (byte-level BPE) and llama "
          "(SentencePiece)",
          file_.path(), printable(*model));
    }
    RETURN_IF_ERROR(read_chat(chat));
    RETURN_IF_ERROR(read_bos());
    RETURN_IF_ERROR(read_stops());
    if (const auto status = validate(data_); !status) return fail_in(file_.path(), status.error());
    return std::move(data_);
  }

 private:
  /// An error about one element of an array.
  template <class... Args>
  tl::unexpected<Error> refuse(std::string_view key, size_t index, fmt::format_string<Args...> format,
                               Args&&... args) const {
    return fail("{}: metadata {}[{}]: {}", file_.path(), key, index, fmt::format(format, std::forward<Args>(args)...));
  }

  /// SentencePiece's vocabulary: pieces, their scores and types.
  Status read_pieces(uint32_t vocabulary) {
    ASSIGN_OR_RETURN(const auto texts, file_.texts("tokenizer.ggml.tokens"));
    ASSIGN_OR_RETURN(const auto scores, file_.floats("tokenizer.ggml.scores"));
    ASSIGN_OR_RETURN(const auto types, file_.wholes("tokenizer.ggml.token_type"));
    if (texts.size() > vocabulary || scores.size() != texts.size() || types.size() != texts.size())
      return fail("{}: metadata tokenizer.ggml: {} tokens, {} scores and {} types of a vocabulary of {}", file_.path(),
                  texts.size(), scores.size(), types.size(), vocabulary);
    std::vector<SentencePiece> pieces(texts.size());
    for (size_t id = 0; id < texts.size(); ++id) {
      if (types[id] < kNormal || types[id] > kByte)
        return refuse("tokenizer.ggml.token_type", id, "found {}, expected 1 to 6", types[id]);
      pieces[id] = {std::string(texts[id]), scores[id], static_cast<PieceType>(types[id])};
    }
    ASSIGN_OR_RETURN(const auto prefix, file_.boolean("tokenizer.ggml.add_space_prefix"));
    auto read =
        tokenizer_from_pieces(pieces, vocabulary, prefix.value_or(true) ? SpacePrefix::kText : SpacePrefix::kNone);
    if (!read) return fail_in(file_.path() + ": metadata tokenizer.ggml.tokens", read.error());
    data_ = *std::move(read);
    for (size_t id = 0; id < data_.tokens.size(); ++id)
      if (data_.special[id]) special_.emplace(data_.tokens[id], static_cast<TokenId>(id));
    return {};
  }

  Status read_byte_level() {
    constexpr std::string_view kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type";
    if (!file_.has(kTokens)) return fail("{}: metadata {} is missing", file_.path(), kTokens);
    ASSIGN_OR_RETURN(const auto tokens, file_.texts(kTokens));
    ASSIGN_OR_RETURN(const auto types, file_.wholes(kTypes));
    if (tokens.size() > data_.tokens.size())
      return fail("{}: metadata {}: {} tokens, but the model has rows for {}", file_.path(), kTokens, tokens.size(),
                  data_.tokens.size());
    if (types.size() != tokens.size())
      return fail("{}: metadata {}: {} numbers, expected one for each of the {} tokens", file_.path(), kTypes,
                  types.size(), tokens.size());
    GgufTokenIds ids;
    ids.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      const auto text = tokens[id];
      if (types[id] == kUnused) continue;
      if (text.empty()) return refuse(kTokens, id, "is empty");
      if (types[id] == kControl || types[id] == kUnknown) {
        data_.tokens[id] = text;
        data_.special[id] = true;
        special_.emplace(text, static_cast<TokenId>(id));
        continue;
      }
      if (types[id] == kUserDefined) {
        data_.tokens[id] = text;
        data_.added.push_back(static_cast<TokenId>(id));
        continue;
      }
      if (types[id] != kNormal)
        return refuse(
            kTypes, id,
            "token '{}' has type {}, this version reads 1 (normal), 2, 3 (special), 4 (user-defined) and 5 (unused)",
            printable(text), types[id]);
      auto bytes = alphabet_to_bytes(text);
      if (!bytes)
        return refuse(kTokens, id, "'{}' has a character that stands for no byte: this is not byte-level BPE",
                      printable(text));
      data_.tokens[id] = *std::move(bytes);
      if (const auto [same, added] = ids.emplace(text, static_cast<TokenId>(id)); !added)
        return refuse(kTokens, id, "'{}' is token {} already", printable(text), same->second);
    }
    RETURN_IF_ERROR(read_after_nfc());
    return read_merges(ids);
  }

  /// Which of the added tokens are looked for in what NFC left of a text.
  Status read_after_nfc() {
    ASSIGN_OR_RETURN(const auto told, file_.wholes("onebit.added_after_nfc"));
    for (const auto id : told) {
      const auto it = std::find(data_.added.begin(), data_.added.end(), id);
      if (it == data_.added.end())
        return fail("{}: metadata onebit.added_after_nfc: {} is no user-defined token", file_.path(), id);
      data_.added_after_nfc.push_back(*it);
      data_.added.erase(it);
    }
    return {};
  }

  Status read_merges(const GgufTokenIds& ids) {
    constexpr std::string_view kMerges = "tokenizer.ggml.merges";
    if (!file_.has(kMerges)) return fail("{}: metadata {} is missing", file_.path(), kMerges);
    ASSIGN_OR_RETURN(const auto merges, file_.texts(kMerges));
    data_.merges.reserve(merges.size());
    std::string result;
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const auto merge = merges[rank];
      const size_t space = merge.find(' ');
      if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos)
        return refuse(kMerges, rank, "found '{}', expected two tokens", printable(merge));
      const auto left = merge.substr(0, space), right = merge.substr(space + 1);
      result.assign(left).append(right);
      std::array<TokenId, 3> found{};
      for (size_t i = 0; i < found.size(); ++i) {
        const auto it = ids.find(std::array<std::string_view, 3>{left, right, result}[i]);
        if (it == ids.end())
          return refuse(kMerges, rank, "'{}': its {} is not in the vocabulary", printable(merge),
                        std::array{"first part", "second part", "result"}[i]);
        found[i] = it->second;
      }
      data_.merges.push_back({found[0], found[1], found[2]});
    }
    return {};
  }

  Status read_pre_tokenizer() {
    ASSIGN_OR_RETURN(auto name, file_.text("tokenizer.ggml.pre"));
    if (!name || *name == "default") {
      // Files of BitNet 2B-4T lack it.
      if (!special_.contains("<|begin_of_text|>") || !special_.contains("<|eot_id|>"))
        return fail(
            "{}: metadata tokenizer.ggml.pre is missing: nothing tells how its tokenizer cuts text; convert the "
            "model's Hugging Face folder instead",
            file_.path());
      notes_.push_back(
          "the file does not tell how its tokenizer cuts text; its special tokens are LLaMA-3's, so is that taken to "
          "be");
      name = "llama-bpe";
    }
    const auto known = ggml_pre_tokenizer(*name);
    if (!known) return fail("{}: metadata tokenizer.ggml.pre: {}", file_.path(), known.error().message);
    data_.pre_tokenizer = known->pre_tokenizer;
    ASSIGN_OR_RETURN(const auto ignore_merges, file_.boolean("onebit.ignore_merges"));
    data_.ignore_merges = ignore_merges.value_or(known->ignore_merges);
    ASSIGN_OR_RETURN(const auto nfc, file_.boolean("onebit.nfc"));
    data_.nfc = nfc.value_or(known->nfc);
    return {};
  }

  /// The layout asked for, told by name, or recognised.
  Status read_chat(const std::optional<ChatChoice>& chat) {
    ASSIGN_OR_RETURN(const auto told, file_.text("onebit.chat_layout"));
    ASSIGN_OR_RETURN(const auto jinja, file_.text("tokenizer.chat_template"));
    if (chat) {
      data_.chat = *chat;
    } else if (told == name_of(ChatLayout::kDescribed)) {
      ASSIGN_OR_RETURN(const auto description, file_.text("onebit.chat_format"));
      data_.chat.layout = ChatLayout::kDescribed;
      ASSIGN_OR_RETURN(data_.chat.described, parse_chat_description(description.value_or(""),
                                                                    file_.path() + ": metadata onebit.chat_format"));
    } else if (told) {
      const auto layout = chat_layout_by_name(*told);
      if (!layout) return fail("{}: metadata onebit.chat_layout: found '{}'", file_.path(), printable(*told));
      data_.chat.layout = *layout;
    } else {
      data_.chat.layout = recognise_chat_template(jinja.value_or(""));
    }
    if (told && !chat) return {};  // by a program that had the model
    const auto missing = missing_marker();
    if (!missing) return {};
    if (chat)
      return fail("{}: no special token {}, which the {} chat layout needs", file_.path(), printable(*missing),
                  name_of(data_.chat.layout));
    data_.chat = {};  // only the template's words resemble the layout
    return {};
  }

  /// The first <|…|> in the layout's words that is no special token, or has no end.
  std::optional<std::string> missing_marker() const {
    if (data_.chat.layout == ChatLayout::kNone) return std::nullopt;
    const ChatFormat& format = data_.chat.format();
    for (const auto* turn : {&format.system, &format.user, &format.assistant})
      for (const std::string* words : {&turn->before, &turn->after})
        for (size_t begin = words->find("<|"); begin != std::string::npos; begin = words->find("<|", begin + 1)) {
          const auto marker = marker_at(*words, begin);
          if (marker.empty() || !special_.contains(marker)) return marker.empty() ? "<|" : std::string(marker);
        }
    return std::nullopt;
  }
  static std::string_view marker_at(std::string_view words, size_t begin) {
    const size_t end = words.find("|>", begin);
    return begin == std::string_view::npos || end == std::string_view::npos ? std::string_view()
                                                                            : words.substr(begin, end + 2 - begin);
  }

  /// The special token at a key; -1 where it is not set.
  Result<TokenId> read_special(std::string_view key) {
    ASSIGN_OR_RETURN(const auto id, file_.whole(key));
    if (!id) return -1;
    if (*id >= data_.tokens.size() || !data_.special[*id])
      return fail("{}: metadata {}: token {} is not a special token", file_.path(), key, *id);
    return static_cast<TokenId>(*id);
  }

  Status read_bos() {
    ASSIGN_OR_RETURN(const auto added, file_.boolean("tokenizer.ggml.add_bos_token"));
    if (!added.value_or(true)) return {};
    ASSIGN_OR_RETURN(data_.bos, read_special("tokenizer.ggml.bos_token_id"));
    return {};
  }

  Status read_stops() {
    ASSIGN_OR_RETURN(const auto told, file_.wholes("onebit.stop_tokens"));
    auto& stops = data_.stop_tokens;
    if (file_.has("onebit.stop_tokens")) {
      for (const auto id : told)
        stops.push_back(static_cast<TokenId>(std::clamp<int64_t>(id, -1, INT32_MAX)));  // validate() finds those beyond
      return {};
    }
    for (const auto* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
      ASSIGN_OR_RETURN(const TokenId id, read_special(key));
      if (id >= 0) stops.push_back(id);
    }
    if (data_.chat.layout != ChatLayout::kNone) {
      const auto& after = data_.chat.format().assistant.after;
      const auto turn_end = special_.find(marker_at(after, after.find("<|")));
      if (turn_end != special_.end()) stops.push_back(turn_end->second);
    }
    std::sort(stops.begin(), stops.end());
    stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
    return {};
  }

  const GgufFile& file_;
  std::vector<std::string>& notes_;
  TokenizerData data_;
  GgufTokenIds special_;
};

}  // namespace

Result<TokenizerData> import_gguf_tokenizer(const GgufFile& file, uint32_t vocabulary,
                                            const std::optional<ChatChoice>& chat, std::vector<std::string>& notes) {
  return TokenizerReader(file, notes).read(vocabulary, chat);
}

}  // namespace onebit
