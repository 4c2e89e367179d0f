// Pieces with scores, tokenizer.model, and llama.cpp's names of pre-tokenizers.
#include "format/sentencepiece.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <limits>
#include <set>

#include "format/ggml_pre_tokenizer.h"
#include "format/import/hf_tokenizer.h"
#include "format/import/sentencepiece_model.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/merge_by_definition.h"

namespace onebit {
namespace {

using Pieces = std::vector<SentencePiece>;

/// <unk>, <s>, </s>, the 256 bytes, then normal pieces of falling score.
Pieces make_pieces(const std::vector<std::string>& normal) {
  Pieces pieces = {
      {"<unk>", 0, PieceType::kUnknown}, {"<s>", 0, PieceType::kControl}, {"</s>", 0, PieceType::kControl}};
  for (int byte = 0; byte < 256; ++byte) pieces.push_back({fmt::format("<0x{:02X}>", byte), 0, PieceType::kByte});
  for (const auto& text : normal) pieces.push_back({text, -static_cast<float>(pieces.size()), PieceType::kNormal});
  return pieces;
}

constexpr uint32_t kPieceVocabulary = 400;

TEST(SentencePiece, MakesTokensOfEachType) {
  auto pieces = make_pieces({"\u2581a", "a", "\u2581"});
  pieces.push_back({"[INST]", 0, PieceType::kUserDefined});
  pieces.push_back({"x", 0, PieceType::kUnused});
  const auto data = tokenizer_from_pieces(pieces, kPieceVocabulary, SpacePrefix::kStretch);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  ASSERT_TRUE(validate(*data).has_value()) << validate(*data).error().message;
  EXPECT_TRUE(data->special[0] && data->special[1] && data->special[2] && !data->special[3]);
  EXPECT_EQ(data->byte_tokens[0x0a], 3 + 0x0a);
  EXPECT_EQ(data->tokens[3 + 0x0a], "\n");
  EXPECT_EQ(data->tokens[259], " a");
  EXPECT_EQ(data->added, (std::vector<TokenId>{262}));
  EXPECT_EQ(data->tokens[263], "") << "unused";
  EXPECT_EQ(data->tokens[399], "") << "the model has more rows";
  ASSERT_EQ(data->merges.size(), 1u);
  EXPECT_EQ(data->merges[0].left, 261);
  EXPECT_EQ(data->merges[0].right, 260);
  EXPECT_EQ(data->merges[0].result, 259);
}

TEST(SentencePiece, RefusesPiecesThatMakeNoVocabulary) {
  test::hostile("tokenizer.json", "structure");
  const auto refuse = [](auto change, const std::string& part) {
    auto pieces = make_pieces({"a", "b", "ab"});
    change(pieces);
    test::count_case(part);
    const auto data = tokenizer_from_pieces(pieces, kPieceVocabulary, SpacePrefix::kNone);
    ASSERT_FALSE(data.has_value()) << part;
    EXPECT_NE(data.error().message.find(part), std::string::npos) << data.error().message;
  };
  refuse([](Pieces& p) { p[260].text.clear(); }, "piece 260: is empty");
  refuse([](Pieces& p) { p[260].score = std::numeric_limits<float>::quiet_NaN(); }, "piece 260: its score");
  refuse([](Pieces& p) { p[260].score = std::numeric_limits<float>::infinity(); }, "piece 260: its score");
  refuse([](Pieces& p) { p[260].type = PieceType{7}; }, "type 7");
  refuse([](Pieces& p) { p[20].text = "<0xG0>"; }, "piece 20: '<0xG0>' is no byte");
  refuse([](Pieces& p) { p[20].text = "<0x00>"; }, "pieces 3 and 20: both");
  refuse([](Pieces& p) { p[20].type = PieceType::kUnused; }, "none for the byte 0x11");
  refuse([](Pieces& p) { p[260].text.assign(5000, 'a'); }, "more than 4096 bytes");
  refuse([](Pieces& p) { p.resize(kPieceVocabulary + 1); }, "401 pieces");
}

/// SentencePiece's own definition, over pieces of one letter and more.
std::vector<std::string> merge_by_score(const Pieces& pieces, std::string_view text) {
  std::vector<std::string> symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  while (true) {
    size_t best = symbols.size();
    float best_score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      for (const auto& piece : pieces)
        if (piece.type == PieceType::kNormal && piece.text == symbols[i] + symbols[i + 1] &&
            (best == symbols.size() || piece.score > best_score)) {
          best = i;
          best_score = piece.score;
        }
    if (best == symbols.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

/// The same by rank, where neighbouring merges of one result have one.
std::vector<std::string> merge_by_rank(const TokenizerData& data, std::string_view text) {
  std::vector<std::string> symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  while (true) {
    size_t best = symbols.size(), best_rank = data.merges.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      for (size_t at = 0, rank = 0; at < data.merges.size(); ++at) {
        if (data.merges[at].result != data.merges[rank].result) rank = at;
        if (data.tokens[data.merges[at].left] != symbols[i] || data.tokens[data.merges[at].right] != symbols[i + 1] ||
            rank >= best_rank)
          continue;
        best = i;
        best_rank = rank;
      }
    if (best == symbols.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

RC_GTEST_PROP(SentencePiece, MergesByRankAsByScore, ()) {
  const auto letter = rc::gen::element('a', 'b');
  std::vector<std::string> normal = {"a", "b"};
  std::set<std::string> known(normal.begin(), normal.end());
  for (const auto& word : *rc::gen::container<std::vector<std::string>>(rc::gen::container<std::string>(letter)))
    if (word.size() <= 6 && !word.empty() && known.insert(word).second) normal.push_back(word);
  const auto pieces = make_pieces(normal);
  const auto data = tokenizer_from_pieces(pieces, kPieceVocabulary, SpacePrefix::kNone);
  RC_ASSERT(data.has_value() && validate(*data).has_value());
  const auto text = *rc::gen::container<std::string>(letter);
  RC_ASSERT(merge_by_rank(*data, text) == merge_by_score(pieces, text));
}

// tokenizer.model, as protobuf writes it.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string number_field(uint32_t number, uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string bytes_field(uint32_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string piece_message(const SentencePiece& piece) {
  std::string score(4, '\0');
  std::memcpy(score.data(), &piece.score, 4);
  return bytes_field(1, piece.text) + varint(2 << 3 | 5) + score + number_field(3, static_cast<uint64_t>(piece.type));
}

/// LLaMA-2's settings.
const std::string kTrainer = number_field(3, 2) + number_field(35, 1);
const std::string kNormalizer =
    bytes_field(1, "identity") + bytes_field(2, "") + number_field(3, 1) + number_field(4, 0) + number_field(5, 1);

std::string model_file(const Pieces& pieces, const std::string& trainer = kTrainer,
                       const std::string& normalizer = kNormalizer) {
  std::string out;
  for (const auto& piece : pieces) out += bytes_field(1, piece_message(piece));
  return out + bytes_field(2, trainer) + bytes_field(3, normalizer) + bytes_field(9, "of a later version");
}

void expect_refused(const std::string& file, const std::string& part) {
  test::count_case(file);
  const auto data = read_sentencepiece_model(file, kPieceVocabulary);
  ASSERT_FALSE(data.has_value()) << part;
  EXPECT_NE(data.error().message.find(part), std::string::npos) << data.error().message;
}

TEST(SentencePieceModel, IsReadAsItsPieces) {
  const auto pieces = make_pieces({"a", "b", "ab", "\u2581"});
  auto data = read_sentencepiece_model(model_file(pieces), kPieceVocabulary);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  EXPECT_EQ(serialize(*data), serialize(*tokenizer_from_pieces(pieces, kPieceVocabulary, SpacePrefix::kStretch)));
  data =
      read_sentencepiece_model(model_file(pieces, kTrainer, number_field(3, 0) + number_field(4, 0)), kPieceVocabulary);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  EXPECT_EQ(data->space_prefix, SpacePrefix::kNone);
}

TEST(SentencePieceModel, RefusesSettingsThatWouldChangeIds) {
  test::hostile("tokenizer.json", "other");
  const auto pieces = make_pieces({"a"});
  expect_refused(model_file(pieces, number_field(35, 1)), "trainer_spec: model_type: found 1, this version supports 2");
  expect_refused(model_file(pieces, number_field(3, 2)), "trainer_spec: byte_fallback: found 0");
  expect_refused(model_file(pieces, kTrainer + number_field(24, 1)), "treat_whitespace_as_suffix: found 1");
  expect_refused(model_file(pieces, kTrainer, ""), "normalizer_spec: remove_extra_whitespaces: found 1");
  expect_refused(model_file(pieces, kTrainer, kNormalizer + number_field(5, 0)), "escape_whitespaces: found 0");
  expect_refused(model_file(pieces, kTrainer, kNormalizer + bytes_field(2, "x")), "rules to change characters");
  expect_refused("", "model_type");
}

TEST(SentencePieceModel, RefusesAFileCutShortAtAnyByte) {
  test::hostile("tokenizer.json", "cut");
  const auto file = model_file(make_pieces({"a", "ab", "b"}));
  for (size_t size = 0; size < file.size(); ++size) {
    test::count_case(std::string_view(file).substr(0, size));
    const auto data = read_sentencepiece_model(std::string_view(file).substr(0, size), kPieceVocabulary);
    // Cut after the settings, only what is of no account is gone.
    EXPECT_TRUE(!data || size + bytes_field(9, "of a later version").size() >= file.size()) << size;
  }
}

TEST(SentencePieceModel, RefusesNumbersAndLengthsBeyondTheFile) {
  test::hostile("tokenizer.json", "numbers");
  expect_refused(varint(1 << 3 | 2) + varint(std::numeric_limits<uint64_t>::max()), "bytes announced");
  expect_refused(std::string(11, '\xff'), "cut short or too large");
  expect_refused(std::string(9, '\xff') + "\x02", "cut short or too large");
  expect_refused(std::string("\x00\x00", 2), "a field has the number 0");
  expect_refused(varint(9 << 3 | 3), "unknown kind 3");
  expect_refused(number_field(1, 5), "field 1: is of kind 0, expected 2");
  expect_refused(bytes_field(1, number_field(1, 5)), "piece: is of kind 0");
  expect_refused(bytes_field(1, number_field(2, 5)), "score: is of kind 0");
  expect_refused(bytes_field(2, bytes_field(3, "x")), "model_type: is of kind 2");
  std::string many;
  for (uint32_t i = 0; i <= kPieceVocabulary; ++i) many += bytes_field(1, "");
  expect_refused(many, "more than 400");
}

RC_GTEST_PROP(SentencePieceModel, TakesAnyBytesAsAnErrorOrAsData, ()) {
  test::hostile("tokenizer.json", "bytes");
  static const auto file = model_file(make_pieces({"a", "b", "ab"}));
  auto bytes = file;
  const auto edits = *rc::gen::container<std::vector<std::pair<uint16_t, uint8_t>>>(
      rc::gen::arbitrary<std::pair<uint16_t, uint8_t>>());
  for (const auto& [at, value] : edits) bytes[at % bytes.size()] = static_cast<char>(value);
  test::count_case(bytes);
  const auto data = read_sentencepiece_model(bytes, kPieceVocabulary);
  if (data && validate(*data)) {
    const auto section = serialize(*data);
    RC_ASSERT(parse_tokenizer_data(std::as_bytes(std::span(section))).has_value());
  }
}

TEST(SentencePieceModel, TakesBosStopsAndAddedTokensFromItsCompanions) {
  HfTokenizerFiles files;
  files.folder = "some/model";
  files.tokenizer_model = model_file(make_pieces({"a", "b", "ab"}));
  files.tokenizer_config_json = R"({"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": {
    "1": {"content": "<s>", "special": true}, "300": {"content": "<pad>", "special": true},
    "301": {"content": "</line>", "normalized": true, "special": false}}})";
  auto data = import_hf_tokenizer(files, kPieceVocabulary);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  EXPECT_EQ(data->bos, 1);
  EXPECT_EQ(data->stop_tokens, (std::vector<TokenId>{2}));
  EXPECT_TRUE(data->special[300]);
  EXPECT_EQ(data->tokens[301], "</line>");
  EXPECT_EQ(data->added, (std::vector<TokenId>{301}));
  test::hostile("tokenizer.json", "structure");
  files.tokenizer_config_json = R"({"added_tokens_decoder": {"400": {"content": "<pad>", "special": true}}})";
  data = import_hf_tokenizer(files, kPieceVocabulary);
  ASSERT_FALSE(data.has_value());
  EXPECT_NE(data.error().message.find("some/model/tokenizer_config.json: added_tokens_decoder.400"), std::string::npos)
      << data.error().message;
  files.tokenizer_model += "x";
  files.tokenizer_config_json.clear();
  data = import_hf_tokenizer(files, kPieceVocabulary);
  ASSERT_FALSE(data.has_value());
  EXPECT_EQ(data.error().message.find("some/model/tokenizer.model: "), 0u) << data.error().message;
}

TEST(GgmlPreTokenizer, KnowsTheNamesOfTheKinds) {
  EXPECT_EQ(ggml_pre_tokenizer("falcon3")->pre_tokenizer, PreTokenizer::kLlama3);
  EXPECT_TRUE(ggml_pre_tokenizer("llama-bpe")->ignore_merges);
  EXPECT_EQ(ggml_pre_tokenizer("qwen2")->pre_tokenizer, PreTokenizer::kQwen2);
  EXPECT_TRUE(ggml_pre_tokenizer("qwen2")->nfc);
  EXPECT_EQ(ggml_pre_tokenizer("gpt-2")->pre_tokenizer, PreTokenizer::kGpt2);
  const auto unknown = ggml_pre_tokenizer("tekken\n");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("'tekken\\x0a', this version knows llama-bpe, "), std::string::npos);
}

TEST(GgmlPreTokenizer, WritesANameThatIsReadBack) {
  for (const auto kind : {PreTokenizer::kLlama3, PreTokenizer::kGpt2, PreTokenizer::kQwen2})
    for (const bool flag : {false, true}) {
      TokenizerData data;
      data.pre_tokenizer = kind;
      data.ignore_merges = data.nfc = flag;
      const auto read = ggml_pre_tokenizer(ggml_pre_tokenizer_name(data));
      ASSERT_TRUE(read.has_value());
      EXPECT_EQ(read->pre_tokenizer, kind);
      EXPECT_EQ(kind == PreTokenizer::kLlama3 ? read->ignore_merges : flag, flag);
      EXPECT_EQ(kind == PreTokenizer::kGpt2 ? read->nfc : flag, flag);
    }
}

}  // namespace
}  // namespace onebit
