#include "format/import/hf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "tests/support/hostile_cases.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using nlohmann::json;
using test::id_of;

constexpr uint32_t kVocabulary = 300;

/// How tokenizer.json writes one byte.
std::string stand_in(int byte) {
  char32_t next = 0x100;
  for (int b = 0; b <= byte; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
    if (b == byte) {
      std::string out;
      utf8_append(out, printable ? static_cast<char32_t>(b) : next);
      return out;
    }
    if (!printable) ++next;
  }
  return {};
}

json added_token(int id, const std::string& name) {
  return {{"id", id},        {"content", name},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

/// The shape of LLaMA-3's file with a vocabulary of 256 bytes, "th", "the", "Ġthe" and three special tokens.
json llama3_tokenizer() {
  json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[stand_in(byte)] = byte;
  vocab["th"] = 256;
  vocab["the"] = 257;
  vocab["\u0120the"] = 258;
  json root = json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": {"type": "Sequence", "processors": [
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}]},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
      "merges": ["t h", "th e", "\u0120 the"]}})");
  root["model"]["vocab"] = vocab;
  root["added_tokens"] = {added_token(260, "<|begin_of_text|>"), added_token(261, "<|end_of_text|>"),
                          added_token(262, "<|eot_id|>")};
  return root;
}

HfTokenizerFiles files_of(const json& tokenizer) {
  HfTokenizerFiles files;
  files.tokenizer_json = tokenizer.dump();
  files.folder = "some/model";
  return files;
}

Result<TokenizerData> import(const HfTokenizerFiles& files, uint32_t vocabulary = kVocabulary) {
  test::count_case(fmt::format("{}\n{}\n{}\n{}\n{}", vocabulary, files.tokenizer_json, files.tokenizer_config_json,
                               files.generation_config_json, files.config_json));
  return import_hf_tokenizer(files, vocabulary);
}

TokenizerData import_or_fail(const HfTokenizerFiles& files) {
  auto data = import(files);
  EXPECT_TRUE(data.has_value()) << (data ? "" : data.error().message);
  return data.value_or(TokenizerData{});
}

void expect_refused(const HfTokenizerFiles& files, std::initializer_list<std::string> parts) {
  const auto data = import(files);
  ASSERT_FALSE(data.has_value()) << "expected: " << *parts.begin();
  for (const auto& part : parts)
    EXPECT_NE(data.error().message.find(part), std::string::npos) << part << " not in: " << data.error().message;
}

/// Expects that the file is refused once `pointer` has `value`, with an error that tells file and `field`.
void expect_setting_refused(const char* pointer, const json& value, const std::string& field) {
  auto tokenizer = llama3_tokenizer();
  tokenizer[json::json_pointer(pointer)] = value;
  expect_refused(files_of(tokenizer), {"some/model/tokenizer.json: ", field});
}

void expect_setting_harmless(const char* pointer, const json& value) {
  auto tokenizer = llama3_tokenizer();
  tokenizer[json::json_pointer(pointer)] = value;
  const auto data = import_hf_tokenizer(files_of(tokenizer), kVocabulary);
  EXPECT_TRUE(data.has_value()) << pointer << ": " << (data ? "" : data.error().message);
}

TEST(HfTokenizer, ReadsAFileOfLlama3sShape) {
  const auto data = import_or_fail(files_of(llama3_tokenizer()));
  EXPECT_TRUE(data.ignore_merges);
  ASSERT_EQ(data.tokens.size(), kVocabulary);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(data.tokens[byte], std::string(1, static_cast<char>(byte)));
  EXPECT_EQ(data.tokens[258], " the");
  EXPECT_EQ(data.tokens[259], "") << "a gap";
  EXPECT_EQ(data.tokens[262], "<|eot_id|>");
  EXPECT_TRUE(data.special[262]);
  EXPECT_EQ(data.tokens[299], "") << "the model's vocabulary is larger than the tokenizer's";
  ASSERT_EQ(data.merges.size(), 3u);
  EXPECT_EQ(data.merges[2].left, id_of(data, " "));
  EXPECT_EQ(data.merges[2].right, 257);
  EXPECT_EQ(data.merges[2].result, 258);
  EXPECT_EQ(data.bos, -1);
  EXPECT_TRUE(data.stop_tokens.empty());
  EXPECT_EQ(data.chat.layout, ChatLayout::kNone);
}

TEST(HfTokenizer, ReadsMergesAsPairsToo) {
  auto tokenizer = llama3_tokenizer();
  const auto expected = serialize(import_or_fail(files_of(tokenizer)));
  tokenizer["model"]["merges"] = json::parse(R"([["t","h"],["th","e"],["Ġ","the"]])");
  EXPECT_EQ(serialize(import_or_fail(files_of(tokenizer))), expected);
}

TEST(HfTokenizer, RefusesEverySettingThatWouldChangeIds) {
  test::hostile("tokenizer.json", "other");
  expect_setting_refused("/normalizer", {{"type", "NFKC"}}, "normalizer.type");
  expect_setting_refused("/normalizer", {{"type", "NFC"}, {"form", 1}}, "normalizer.form");
  expect_setting_refused("/normalizer", json::parse(R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})"),
                         "normalizer.type");
  expect_setting_refused("/truncation", {{"max_length", 8}}, "truncation");
  expect_setting_refused("/padding", {{"direction", "Right"}}, "padding");
  expect_setting_refused("/version", "2.0", "version");
  expect_setting_refused("/something_new", 1, "something_new");
  expect_setting_refused("/pre_tokenizer", nullptr, "pre_tokenizer");
  expect_setting_refused("/pre_tokenizer", {{"type", "Whitespace"}}, "pre_tokenizer.type");
  expect_setting_refused("/pre_tokenizer/pretokenizers/2", {{"type", "Digits"}}, "pre_tokenizer.pretokenizers");
  expect_setting_refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+", "pretokenizers[0].pattern");
  expect_setting_refused("/pre_tokenizer/pretokenizers/0/pattern", {{"String", " "}}, "pretokenizers[0].pattern");
  expect_setting_refused("/pre_tokenizer/pretokenizers/0/behavior", "Removed", "pretokenizers[0].behavior");
  expect_setting_refused("/pre_tokenizer/pretokenizers/0/invert", true, "pretokenizers[0].invert");
  expect_setting_refused("/pre_tokenizer/pretokenizers/1/type", "Metaspace", "pretokenizers[1].type");
  expect_setting_refused("/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "pretokenizers[1].add_prefix_space");
  expect_setting_refused("/pre_tokenizer/pretokenizers/1/use_regex", true, "pretokenizers[1].use_regex");
  expect_setting_refused("/decoder", {{"type", "Metaspace"}}, "decoder.type");
  expect_setting_refused("/model", nullptr, "model: missing");
  expect_setting_refused("/model/type", "Unigram", "model.type");
  expect_setting_refused("/model/dropout", 0.1, "model.dropout");
  expect_setting_refused("/model/unk_token", "<unk>", "model.unk_token");
  expect_setting_refused("/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix");
  expect_setting_refused("/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix");
  expect_setting_refused("/model/byte_fallback", "yes", "model.byte_fallback");
  expect_setting_refused("/model/byte_fallback", true, "model.ignore_merges");  // and all else LLaMA-3's
  expect_setting_refused("/model/ignore_merges", "yes", "model.ignore_merges");
  expect_setting_refused("/model/something_new", 1, "something_new");
}

TEST(HfTokenizer, AcceptsSettingsThatChangeNothing) {
  expect_setting_harmless("/model/dropout", 0.0);
  expect_setting_harmless("/model/continuing_subword_prefix", "");
  expect_setting_harmless("/model/end_of_word_suffix", "");
  expect_setting_harmless("/model/fuse_unk", true);
  expect_setting_harmless("/model/ignore_merges", false);
  expect_setting_harmless("/added_tokens/0/normalized", true);
  expect_setting_harmless("/post_processor", nullptr);
  expect_setting_harmless("/decoder", nullptr);
}

TEST(HfTokenizer, RefusesAddedTokensItCannotFindAsTheFileSays) {
  test::hostile("tokenizer.json", "types");
  expect_setting_refused("/added_tokens", "none", "added_tokens");
  expect_setting_refused("/added_tokens/1", 7, "added_tokens[1]");
  test::hostile("tokenizer.json", "other");
  expect_setting_refused("/added_tokens/1/lstrip", true, "added_tokens[1].lstrip");
  expect_setting_refused("/added_tokens/1/rstrip", true, "added_tokens[1].rstrip");
  expect_setting_refused("/added_tokens/1/single_word", true, "added_tokens[1].single_word");
  expect_setting_refused("/added_tokens/1/special", "no", "added_tokens[1].special");
  expect_setting_refused("/added_tokens/1/normalized", 1, "added_tokens[1].normalized");
  test::hostile("tokenizer.json", "structure");
  expect_setting_refused("/added_tokens/1/content", "", "added_tokens[1].content");
  expect_setting_refused("/added_tokens/1/content", "<|eot_id|>", "added_tokens[2].content");
  expect_setting_refused("/added_tokens/1/id", 260, "added_tokens[1].id");
  test::hostile("tokenizer.json", "numbers");
  expect_setting_refused("/added_tokens/1/id", 300, "from 0 to 299");
  expect_setting_refused("/added_tokens/1/id", -1, "added_tokens[1].id: found -1");
}

TEST(HfTokenizer, TellsQwen2sAndGpt2sPatternsAndNfc) {
  auto tokenizer = llama3_tokenizer();
  EXPECT_EQ(import_or_fail(files_of(tokenizer)).pre_tokenizer, PreTokenizer::kLlama3);
  auto& regex = tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get_ref<std::string&>();
  regex.erase(regex.find("{1,3}"), 5);
  tokenizer["normalizer"] = {{"type", "NFC"}};
  auto data = import_or_fail(files_of(tokenizer));
  EXPECT_EQ(data.pre_tokenizer, PreTokenizer::kQwen2);
  EXPECT_TRUE(data.nfc);
  tokenizer["pre_tokenizer"] = json::parse(R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})");
  tokenizer["normalizer"] = nullptr;
  data = import_or_fail(files_of(tokenizer));
  EXPECT_EQ(data.pre_tokenizer, PreTokenizer::kGpt2);
  EXPECT_FALSE(data.nfc);
  test::hostile("tokenizer.json", "other");
  tokenizer["pre_tokenizer"]["use_regex"] = false;
  expect_refused(files_of(tokenizer), {"pre_tokenizer.use_regex"});
  tokenizer["pre_tokenizer"] = json::parse(R"({"type": "ByteLevel", "add_prefix_space": true})");
  expect_refused(files_of(tokenizer), {"pre_tokenizer.add_prefix_space"});
}

TEST(HfTokenizer, KeepsAddedTokensThatAreNotSpecial) {
  auto tokenizer = llama3_tokenizer();
  tokenizer["added_tokens"][1]["special"] = false;
  auto spaces = added_token(270, "   ");
  spaces["special"] = false;
  spaces["normalized"] = true;
  tokenizer["added_tokens"].push_back(spaces);
  const auto data = import_or_fail(files_of(tokenizer));
  EXPECT_FALSE(data.special[261]);
  EXPECT_EQ(data.tokens[261], "<|end_of_text|>");
  EXPECT_EQ(data.added, (std::vector<TokenId>{261}));
  EXPECT_EQ(data.added_after_nfc, (std::vector<TokenId>{270}));
}

/// The shape of LLaMA-2's file: three special tokens, the bytes, a few characters and "\u2581a".
json llama2_tokenizer() {
  json root = json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": {}, "merges": ["\u2581 a"]}})");
  auto& vocab = root["model"]["vocab"];
  for (const auto* name : {"<unk>", "<s>", "</s>"}) vocab[name] = vocab.size();
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = vocab.size();
  for (const auto* name : {"\u2581", "a", "\u2581a"}) vocab[name] = vocab.size();
  root["added_tokens"] = {added_token(0, "<unk>"), added_token(1, "<s>"), added_token(2, "</s>")};
  return root;
}

TEST(HfTokenizer, ReadsAFileOfLlama2sShape) {
  auto tokenizer = llama2_tokenizer();
  auto data = import_or_fail(files_of(tokenizer));
  EXPECT_EQ(data.pre_tokenizer, PreTokenizer::kSentencePiece);
  EXPECT_EQ(data.space_prefix, SpacePrefix::kStretch);
  EXPECT_FALSE(data.prefix_unless_space);
  ASSERT_EQ(data.byte_tokens.size(), 256u);
  EXPECT_EQ(data.byte_tokens[0x0a], 3 + 0x0a);
  EXPECT_EQ(data.tokens[3 + 0x0a], "\n");
  EXPECT_EQ(data.tokens[259], " ");
  EXPECT_EQ(data.tokens[261], " a");
  EXPECT_EQ(data.merges[0].result, 261);
  const std::pair<const char*, SpacePrefix> schemes[] = {
      {"always", SpacePrefix::kStretch}, {"first", SpacePrefix::kText}, {"never", SpacePrefix::kNone}};
  tokenizer["normalizer"] = nullptr;
  tokenizer["decoder"] = nullptr;
  for (const auto& [scheme, prefix] : schemes) {
    tokenizer["pre_tokenizer"] = {
        {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", false}};
    data = import_or_fail(files_of(tokenizer));
    EXPECT_EQ(data.space_prefix, prefix);
    EXPECT_EQ(data.prefix_unless_space, prefix != SpacePrefix::kNone);
  }
}

TEST(HfTokenizer, RefusesWhatWouldChangeIdsOfLlama2sShape) {
  test::hostile("tokenizer.json", "other");
  const auto refuse = [](const char* pointer, const json& value, const std::string& part) {
    auto tokenizer = llama2_tokenizer();
    tokenizer[json::json_pointer(pointer)] = value;
    expect_refused(files_of(tokenizer), {"some/model/tokenizer.json: ", part});
  };
  refuse("/normalizer", nullptr, "normalizer: found nothing");
  refuse("/normalizer/normalizers/0/prepend", "_", "normalizer: found");
  refuse("/normalizer/normalizers/1/content", "_", "normalizer: found");
  refuse("/normalizer/normalizers/2", {{"type", "NFC"}}, "normalizer: found");
  refuse("/normalizer/normalizers", 7, "normalizer.normalizers");
  refuse("/pre_tokenizer", {{"type", "Metaspace"}}, "normalizer: found");  // both
  refuse("/decoder/decoders/3/start", 2, "decoder: found");
  refuse("/decoder/decoders/3", nullptr, "decoder: found");
  refuse("/model/ignore_merges", true, "model.ignore_merges");
  test::hostile("tokenizer.json", "structure");
  auto tokenizer = llama2_tokenizer();
  tokenizer["model"]["vocab"].erase("<0x1F>");
  expect_refused(files_of(tokenizer), {"<0x1F>", "byte_fallback"});
  refuse("/model/merges/0", "a <0x41>", "model.merges[0]");
  tokenizer = llama2_tokenizer();
  tokenizer["normalizer"] = nullptr;
  for (const json& metaspace :
       {json{{"type", "Metaspace"}, {"replacement", "_"}, {"split", false}},
        json{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}},
        json{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"split", false}}, json{{"type", "Whitespace"}}}) {
    tokenizer["pre_tokenizer"] = metaspace;
    expect_refused(files_of(tokenizer), {"some/model/tokenizer.json: pre_tokenizer"});
  }
}

TEST(HfTokenizer, RefusesIdsThatAreNotIds) {
  test::hostile("tokenizer.json", "numbers");
  for (const json& id : {json(-1), json(300), json(1.5), json("7"), json(nullptr), json(18446744073709551615u)})
    expect_setting_refused("/model/vocab/the", id, "token \"the\": found " + id.dump());
  test::hostile("tokenizer.json", "structure");
  expect_setting_refused("/model/vocab/the", 256, "id 256 is given to another token too");
  expect_setting_refused("/model/vocab/the", 261, "id 261 is given to another token too");
}

TEST(HfTokenizer, TakesASpecialTokenThatIsInTheVocabularyOnce) {
  expect_setting_harmless("/model/vocab/<|eot_id|>", 262);
  test::hostile("tokenizer.json", "structure");
  expect_setting_refused("/model/vocab/<|eot_id|>", 270, "\"<|eot_id|>\": has id 270, but 262 in added_tokens");
}

TEST(HfTokenizer, RefusesTokensThatAreNotBytes) {
  test::hostile("tokenizer.json", "text");
  expect_setting_refused("/model/vocab/\u65e5", 270, "stands for no byte");
  expect_setting_refused("/model/vocab/a b", 270, "stands for no byte");
  expect_setting_refused("/model/vocab/", 270, "is empty");
  test::hostile("tokenizer.json", "types");
  expect_setting_refused("/model/vocab", json::array(), "model.vocab");
}

TEST(HfTokenizer, NeedsAllBytesInTheVocabulary) {
  test::hostile("tokenizer.json", "structure");
  auto tokenizer = llama3_tokenizer();
  tokenizer["model"]["vocab"].erase("Q");
  expect_refused(files_of(tokenizer), {"some/model/tokenizer.json", "single byte 0x51"});
}

TEST(HfTokenizer, RefusesMergesOutsideTheVocabulary) {
  test::hostile("tokenizer.json", "structure");
  expect_setting_refused("/model/merges/1", "zz e", "model.merges[1]: \"zz e\": its first part");
  expect_setting_refused("/model/merges/1", "t zz", "model.merges[1]: \"t zz\": its second part");
  expect_setting_refused("/model/merges/1", "t q", "model.merges[1]: \"t q\": its result");
  expect_setting_refused("/model/merges/1", "t h e", "model.merges[1]");
  expect_setting_refused("/model/merges/1", "th", "model.merges[1]");
  expect_setting_refused("/model/merges/1", json::array({"t"}), "model.merges[1]");
  expect_setting_refused("/model/merges/1", json::array({"t", 5}), "model.merges[1]");
  expect_setting_refused("/model/merges/1", "t h", "given twice");
  expect_setting_refused("/model/merges", nullptr, "model.merges");
}

TEST(HfTokenizer, RefusesATokenizerLargerThanTheModelsVocabulary) {
  test::hostile("tokenizer.json", "structure");
  const auto data = import(files_of(llama3_tokenizer()), 262);
  ASSERT_FALSE(data.has_value());
  EXPECT_NE(data.error().message.find("from 0 to 261"), std::string::npos) << data.error().message;
}

TEST(HfTokenizer, TakesBosFromTheTokenizersConfigThenTheModels) {
  auto files = files_of(llama3_tokenizer());
  files.config_json = R"({"bos_token_id": 261})";
  EXPECT_EQ(import_or_fail(files).bos, 261);
  files.tokenizer_config_json = R"({"bos_token": "<|begin_of_text|>"})";
  EXPECT_EQ(import_or_fail(files).bos, 260);
  files.tokenizer_config_json = R"({"bos_token": {"content": "<|begin_of_text|>", "lstrip": false}})";
  EXPECT_EQ(import_or_fail(files).bos, 260);
  files.tokenizer_config_json = R"({"bos_token": null})";
  EXPECT_EQ(import_or_fail(files).bos, 261);
  test::hostile("tokenizer.json", "structure");
  files.tokenizer_config_json = R"({"bos_token": "<s>"})";
  expect_refused(files, {"some/model/tokenizer_config.json: bos_token", "<s>"});
  files.tokenizer_config_json = "";
  files.config_json = R"({"bos_token_id": 5})";
  expect_refused(files, {"some/model/config.json: bos_token_id", "5"});
}

TEST(HfTokenizer, TakesStopTokensFromTheFirstFileThatHasSome) {
  using Ids = std::vector<TokenId>;
  auto files = files_of(llama3_tokenizer());
  files.tokenizer_config_json = R"({"eos_token": "<|end_of_text|>"})";
  EXPECT_EQ(import_or_fail(files).stop_tokens, (Ids{261}));
  files.config_json = R"({"eos_token_id": 260})";
  EXPECT_EQ(import_or_fail(files).stop_tokens, (Ids{260}));
  files.generation_config_json = R"({"eos_token_id": null})";
  EXPECT_EQ(import_or_fail(files).stop_tokens, (Ids{260}));
  files.generation_config_json = R"({"eos_token_id": [262, 261, 262]})";
  EXPECT_EQ(import_or_fail(files).stop_tokens, (Ids{261, 262}));
  files.generation_config_json = R"({"eos_token_id": 261})";
  EXPECT_EQ(import_or_fail(files).stop_tokens, (Ids{261}));
  test::hostile("tokenizer.json", "numbers");
  for (const std::string bad : {"7", "-1", "300", "\"<|eot_id|>\"", "[261, 1.5]", "{}"}) {
    files.generation_config_json = R"({"eos_token_id": )" + bad + "}";
    expect_refused(files, {"some/model/generation_config.json: eos_token_id"});
  }
}

TEST(HfTokenizer, StopsAtTheEndOfATurnWhereTheModelChats) {
  auto files = files_of(llama3_tokenizer());
  files.generation_config_json = R"({"eos_token_id": 261})";
  files.tokenizer_config_json =
      R"({"chat_template": "{{ role | capitalize + ': ' + content + '<|eot_id|>' }}{{ 'Assistant: ' }}"})";
  const auto data = import_or_fail(files);
  EXPECT_EQ(data.chat.layout, ChatLayout::kBitnet2B4T);
  EXPECT_EQ(data.stop_tokens, (std::vector<TokenId>{261, 262}));
}

TEST(HfTokenizer, TakesTheDefaultOfSeveralChatTemplates) {
  auto files = files_of(llama3_tokenizer());
  files.tokenizer_config_json = R"({"chat_template": [
    {"name": "tools", "template": "no"},
    {"name": "default", "template": "{{ role | capitalize + ': ' + content + '<|eot_id|>' }}{{ 'Assistant: ' }}"}]})";
  EXPECT_EQ(import_or_fail(files).chat.layout, ChatLayout::kBitnet2B4T);
  // A template that only resembles a layout: its markers are no special tokens here.
  files.tokenizer_config_json = R"({"chat_template": "<|start_header_id|>user<|end_header_id|>hi<|eot_id|>"})";
  EXPECT_EQ(import_or_fail(files).chat.layout, ChatLayout::kNone);
  files.tokenizer_config_json = R"({"chat_template": [5, {"name": 1}]})";
  EXPECT_EQ(import_or_fail(files).chat.layout, ChatLayout::kNone);
}

/// Falcon3's template, and others that are made of the same markers.
std::string falcon3_template(const std::string& after_user, const std::string& after_assistant) {
  return "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + " +
         after_user + " }}{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + " + after_user +
         " }}{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\n' + message['content'] + " + after_assistant +
         " }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";
}

TEST(HfTokenizer, TakesNoTemplateForOneThatDiffersInItsEnds) {
  EXPECT_EQ(recognise_chat_template(falcon3_template("eos_token", "eos_token")), ChatLayout::kNone) << "Zephyr";
  EXPECT_EQ(recognise_chat_template(falcon3_template("'<|end|>\n'", "'<|end|>\n'")), ChatLayout::kNone) << "Phi-3";
  EXPECT_EQ(recognise_chat_template("<|im_start|>user<|im_sep|>x<|im_end|>"), ChatLayout::kNone) << "Phi-4";
  EXPECT_EQ(recognise_chat_template("<|assistant|><|system|><|user|>"), ChatLayout::kFalcon3) << "nothing after it";
}

/// llama3_tokenizer() with more special tokens, from id 263 on.
json tokenizer_with(std::initializer_list<const char*> names) {
  auto tokenizer = llama3_tokenizer();
  int id = 263;
  for (const auto* name : names) tokenizer["added_tokens"].push_back(added_token(id++, name));
  return tokenizer;
}

TEST(HfTokenizer, MakesTheEndOfALayoutsAnswerAStopToken) {
  const auto tokenizer =
      tokenizer_with({"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"});
  ChatChoice described{ChatLayout::kDescribed, {}};
  described.described.user = {"<|user|>", ""};
  described.described.assistant = {"<|assistant|>", "\n<|system|><|user|>"};
  for (const auto& [choice, stop] : {std::pair{ChatChoice{ChatLayout::kChatml, {}}, 264},
                                     std::pair{ChatChoice{ChatLayout::kFalcon3, {}}, 265}, std::pair{described, 266}}) {
    auto files = files_of(tokenizer);
    files.generation_config_json = R"({"eos_token_id": 261})";
    const auto data = import_hf_tokenizer(files, kVocabulary, choice);
    ASSERT_TRUE(data.has_value()) << data.error().message;
    EXPECT_EQ(data->chat.layout, choice.layout);
    EXPECT_EQ(data->chat.format(), choice.format());
    EXPECT_EQ(data->stop_tokens, (std::vector<TokenId>{261, stop}));
  }
}

TEST(HfTokenizer, RefusesALayoutAskedForWhoseMarkersItLacksByName) {
  test::hostile("layout", "structure");
  const auto refuse = [](const ChatChoice& choice, const std::string& part) {
    test::count_case(part);
    const auto data = import_hf_tokenizer(files_of(tokenizer_with({"<|im_start|>"})), kVocabulary, choice);
    ASSERT_FALSE(data.has_value()) << part;
    EXPECT_NE(data.error().message.find(part), std::string::npos) << data.error().message;
  };
  refuse({ChatLayout::kChatml, {}}, "some/model/tokenizer.json: added_tokens: no special token <|im_end|>");
  refuse({ChatLayout::kFalcon3, {}}, "no special token <|system|>, which the falcon3 chat layout needs");
  ChatChoice described{ChatLayout::kDescribed, {}};
  described.described.user = {"x<|im_start|><|tur\nn|>", ""};
  refuse(described, "no special token <|tur\\x0an|>, which the described chat layout needs");
  described.described.user = {"<|im_start|>", "<|im"};
  refuse(described, "a '<|' without its '|>'");
}

TEST(HfTokenizer, ReadsAChatTemplateFromItsOwnFileFirst) {
  auto files = files_of(tokenizer_with({"<|im_start|>", "<|im_end|>"}));
  files.tokenizer_config_json = R"({"chat_template": "<|start_header_id|>user<|end_header_id|>hi<|eot_id|>"})";
  files.chat_template_jinja = "<|im_start|>user\nhi<|im_end|>";
  EXPECT_EQ(import_or_fail(files).chat.layout, ChatLayout::kChatml);
}

TEST(ChatDescription, IsReadWithWhatItLeavesOutAsUsual) {
  const auto whole = parse_chat_description(
      R"({"system": ["<s>", "</s>"], "user": ["[U]", "\n"], "assistant": ["[A]", "<|eot_id|>"], "bos": false,
          "trim": false})",
      "layout.json");
  ASSERT_TRUE(whole.has_value()) << whole.error().message;
  EXPECT_EQ(*whole, (ChatFormat{.system = {"<s>", "</s>"},
                                .user = {"[U]", "\n"},
                                .assistant = {"[A]", "<|eot_id|>"},
                                .begin_with_bos = false,
                                .trim = false}));
  const auto least = parse_chat_description(R"({"user": ["", ""], "assistant": ["", ""]})", "layout.json");
  ASSERT_TRUE(least.has_value()) << least.error().message;
  EXPECT_EQ(*least, (ChatFormat{.has_system = false}));
}

TEST(ChatDescription, IsRefusedWithFileAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not valid JSON"},
      {"[]", "expected a JSON object"},
      {"{}", "user: expected the two texts"},
      {R"({"user": ["a", "b"]})", "assistant: expected the two texts"},
      {R"({"user": ["a"], "assistant": ["", ""]})", "user: expected the two texts"},
      {R"({"user": ["a", 1], "assistant": ["", ""]})", "user: expected the two texts"},
      {R"({"user": {"before": "a"}, "assistant": ["", ""]})", "user: expected the two texts"},
      {R"({"user": ["", ""], "assistant": "x"})", "assistant: expected the two texts"},
      {R"({"user": ["", ""], "assistant": ["", ""], "system": 5})", "system: expected the two texts"},
      {R"({"user": ["", ""], "assistant": ["", ""], "bos": 1})", "bos: expected true or false"},
      {R"({"user": ["", ""], "assistant": ["", ""], "trim": "yes"})", "trim: expected true or false"},
      {R"({"user": ["", ""], "assistant": ["", ""], "tool": ["", ""]})", "tool: this version does not know"},
      {R"({"user": ["", ""], "user": ["", ""]})", "'user' stands twice"}};
  test::hostile("layout", "types");
  for (const auto& [text, part] : cases) {
    test::count_case(text);
    const auto format = parse_chat_description(text, "my/layout.json");
    ASSERT_FALSE(format.has_value()) << text;
    EXPECT_EQ(format.error().message.find("my/layout.json: "), 0u) << format.error().message;
    EXPECT_NE(format.error().message.find(part), std::string::npos) << format.error().message;
  }
}

TEST(HfTokenizer, TakesNamesThatLookLikeByteTokensAsTheirLetters) {
  test::hostile("tokenizer.json", "text");
  for (const std::string name : {"<0x-1>", "<0x100>", "<0x>", "<0x41>", "<0xFFFFFFFFFFFFFFFFF>"}) {
    auto tokenizer = llama3_tokenizer();
    tokenizer["model"]["vocab"][name] = 270;
    EXPECT_EQ(import_or_fail(files_of(tokenizer)).tokens[270], name);
    tokenizer["model"]["vocab"].erase("A");  // and none of them is the byte
    expect_refused(files_of(tokenizer), {"some/model/tokenizer.json", "single byte 0x41"});
  }
}

TEST(HfTokenizer, RefusesMergesThatGoInACircle) {
  test::hostile("tokenizer.json", "structure");
  const auto refuse = [](const json& merge) { expect_setting_refused("/model/merges/1", merge, "model.merges[1]"); };
  for (const char* token : {"", "t", "th", "the", "\u0120"}) {
    refuse(json::array({"", token}));  // a result that is one of its own parts
    refuse(json::array({token, ""}));
    refuse(std::string(" ") + token);
    refuse(std::string(token) + " ");
    if (*token != '\0') refuse(json::array({token, token}));  // a result that is no token
  }
}

TEST(HfTokenizer, RecognisesChatTemplatesByTheirMarkers) {
  EXPECT_EQ(recognise_chat_template("'<|start_header_id|>' + role + '<|end_header_id|>\n\n' + c + '<|eot_id|>'"),
            ChatLayout::kLlama3);
  EXPECT_EQ(recognise_chat_template("role | capitalize + ': ' + c + '<|eot_id|>' 'Assistant: '"),
            ChatLayout::kBitnet2B4T);
  EXPECT_EQ(recognise_chat_template("<|im_start|>user"), ChatLayout::kNone);
  const std::string qwen =
      "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' "
      "}}"
      "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}";
  EXPECT_EQ(recognise_chat_template(qwen), ChatLayout::kChatml);
  const std::string own_message = "{{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}";
  EXPECT_EQ(recognise_chat_template(own_message + qwen), ChatLayout::kNone) << "a system message of its own";
  EXPECT_EQ(recognise_chat_template("{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' }}" + std::string(qwen)),
            ChatLayout::kChatml);
  EXPECT_EQ(recognise_chat_template("{{ bos_token }}" + std::string(qwen)), ChatLayout::kNone) << "a BOS";
  EXPECT_EQ(recognise_chat_template(falcon3_template("'\n'", "eos_token + '\n'")), ChatLayout::kFalcon3);
  EXPECT_EQ(recognise_chat_template("capitalize Assistant: "), ChatLayout::kNone);
  EXPECT_EQ(recognise_chat_template(""), ChatLayout::kNone);
}

TEST(HfTokenizer, RefusesWhatIsNoJson) {
  test::hostile("tokenizer.json", "other");
  const std::string good = llama3_tokenizer().dump();
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("null"),
                                  good.substr(0, good.size() / 2), good + "x", "\xff" + good}) {
    HfTokenizerFiles files;
    files.tokenizer_json = text;
    files.folder = "some/model";
    expect_refused(files, {"some/model/tokenizer.json"});
  }
  for (const auto companion : {&HfTokenizerFiles::tokenizer_config_json, &HfTokenizerFiles::generation_config_json,
                               &HfTokenizerFiles::config_json}) {
    auto files = files_of(llama3_tokenizer());
    files.*companion = "{\"a\":";
    expect_refused(files, {"some/model/", "config.json"});
  }
}

TEST(HfTokenizer, RefusesNestingThatWouldExhaustTheStack) {
  test::hostile("tokenizer.json", "nesting");
  for (const std::string open : {"[", "{\"model\":"}) {
    HfTokenizerFiles files;
    files.folder = "some/model";
    files.tokenizer_json = "{\"model\":";
    for (int i = 0; i < 100'000; ++i) files.tokenizer_json += open;
    expect_refused(files, {"some/model/tokenizer.json"});
  }
}

/// Any value in any place is an answer, not a crash.
TEST(HfTokenizer, TakesAnyTypeInAnyField) {
  test::hostile("tokenizer.json", "types");
  const auto base = llama3_tokenizer();
  const json values[] = {json(nullptr),        json(true),   json(-1),
                         json(1e300),          json("text"), json::array({1, "x", nullptr}),
                         json{{"type", "BPE"}}};
  const auto visit = [&](const auto& self, const json& node, const json::json_pointer& at, int depth) -> void {
    for (const auto& value : values) {
      auto tokenizer = base;
      tokenizer[at] = value;
      (void)import(files_of(tokenizer));
    }
    if (!node.is_structured() || depth == 0) return;
    int visited = 0;
    for (const auto& [key, child] : node.items()) {
      if (++visited > 12) break;
      self(self, child, node.is_array() ? at / static_cast<size_t>(visited - 1) : at / key, depth - 1);
    }
  };
  visit(visit, base, json::json_pointer(), 3);
}

}  // namespace
}  // namespace onebit
