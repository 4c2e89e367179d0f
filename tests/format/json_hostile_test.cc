// Every JSON file that a stranger may have made, spoilt in the same ways: cut, changed byte by byte, and with any type,
// number, text, key or depth in any place. What is refused is refused in one sentence.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "format/import/hf_config.h"
#include "format/import/hf_tokenizer.h"
#include "format/import/safetensors.h"
#include "tests/support/expect_error.h"
#include "tests/support/hf_folder.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

/// A sound file, and its parser.
struct Document {
  const char* format;  // as test::hostile() takes it
  std::string name;    // which errors give
  json sound;
  std::function<Status(const std::string&)> parse;
};

template <class T>
Status status_of(const Result<T>& result) {
  if (result) return {};
  return tl::unexpected(result.error());
}

class HostileJson : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
#ifndef ONEBIT_SANITIZED
    const rlimit limit{size_t{256} << 20, RLIM_INFINITY};  // of memory, mapped files not counted
    ::setrlimit(RLIMIT_DATA, &limit);
#endif
  }

  void SetUp() override {
    const auto model = test::make_hf_model(test::tiny_config(), TernaryStorage::kPackedMultiply);
    documents_.push_back({"config.json", "some/config.json", model.folder.config, [](const std::string& text) {
                            return status_of(parse_hf_config(text, "some/config.json"));
                          }});
    add_tokenizer_files(model.folder.tokenizer);
    add_safetensors();
    documents_.push_back(
        {"layout", "some/layout.json",
         json::parse(R"({"system": ["<s>", "</s>"], "user": ["[U]", "\n"], "assistant": ["[A]", "x"],
                              "bos": false, "trim": true})"),
         [](const std::string& text) { return status_of(parse_chat_description(text, "some/layout.json")); }});
    for (const auto& document : documents_) {
      const auto status = document.parse(document.sound.dump());
      ASSERT_TRUE(status) << status.error().message;
    }
  }

  /// Every document, its cases counted under `kind`.
  void each(const char* kind, const std::function<void(const Document&)>& visit) {
    for (const auto& document : documents_) {
      SCOPED_TRACE(document.name);
      test::hostile(document.format, kind);
      visit(document);
    }
  }

 private:
  void add_tokenizer_files(const json& tokenizer) {
    HfTokenizerFiles files;
    files.folder = "some";
    files.tokenizer_json = tokenizer.dump();
    const auto add = [&](const char* name, const json& sound, std::string HfTokenizerFiles::* member) {
      documents_.push_back({"tokenizer.json", std::string("some/") + name, sound, [=](const std::string& text) {
                              auto changed = files;
                              changed.*member = text;
                              return status_of(import_hf_tokenizer(changed, test::tiny_config().vocabulary));
                            }});
    };
    add("tokenizer.json", tokenizer, &HfTokenizerFiles::tokenizer_json);
    add("tokenizer_config.json",
        json::parse(R"({"bos_token": {"content": "<|begin_of_text|>", "lstrip": false}, "eos_token": "<|eot_id|>",
            "chat_template": [{"name": "default", "template": "{{ content }}"}]})"),
        &HfTokenizerFiles::tokenizer_config_json);
    add("generation_config.json", json::parse(R"({"eos_token_id": [298, 299], "do_sample": true})"),
        &HfTokenizerFiles::generation_config_json);
  }

  void add_safetensors() {
    const auto path = folder_.path("header.safetensors");
    const auto file = test::safetensors_file({{"a", test::f32_tensor({2, 1}, {1, 2})}, {"b", {"U8", {3}, "xyz"}}});
    const size_t data = file.rfind('}') + 1;
    documents_.push_back({"safetensors", path, json::parse(file.substr(8, data - 8)), [=](const std::string& text) {
                            test::write_file(path, test::safetensors_file(text, file.substr(data)));
                            return status_of(Safetensors::open_file(path));
                          }});
    test::write_file(folder_.path("1.safetensors"), file);
    const auto index = folder_.path("model.safetensors.index.json");
    documents_.push_back(
        {"safetensors", folder_.path(),
         json::parse(R"({"metadata": {"total_size": 11}, "weight_map": {"a": "1.safetensors", "b": "1.safetensors"}})"),
         [this, index](const std::string& text) {
           test::write_file(index, text);
           return status_of(Safetensors::open_folder(folder_.path()));
         }});
  }

  test::TempFolder folder_;
  std::vector<Document> documents_;
};

/// Parses one case; an error is a sentence with the file's name.
Status given(const Document& document, const std::string& text) {
  test::count_case(text);
  auto status = document.parse(text);
  if (!status) test::expect_sentence(status.error(), {document.name});
  return status;
}

void expect_refused(const Document& document, const std::string& text, std::string_view part = "") {
  const auto status = given(document, text);
  if (status) {
    ADD_FAILURE() << "no error for " << text.substr(0, 500);
  } else {
    test::expect_sentence(status.error(), {part});
  }
}

/// Calls `visit` with the places of values, the whole included; of a long list with its first ones only.
void each_place(const json& node, const Pointer& at, const std::function<void(const Pointer&)>& visit) {
  visit(at);
  if (!node.is_structured()) return;
  size_t visited = 0;
  for (const auto& [key, child] : node.items()) {
    if (visited == 8) return;
    each_place(child, node.is_array() ? at / visited : at / key, visit);
    ++visited;
  }
}
void each_place(const Document& document, const std::function<void(const Pointer&)>& visit) {
  each_place(document.sound, Pointer(), visit);
}

/// What stands for the text that is put in, which need not be JSON.
constexpr const char* kMark = "@mark@";

std::string with_mark_replaced(const json& root, const std::string& raw) {
  const std::string mark = json(kMark).dump();
  auto text = root.dump();
  return text.replace(text.find(mark), mark.size(), raw);
}

std::string with_value(json root, const Pointer& at, const std::string& raw) {
  root[at] = kMark;
  return with_mark_replaced(root, raw);
}

TEST_F(HostileJson, CutAtAnyLengthItIsRefused) {
  each("cut", [](const Document& document) {
    const auto text = document.sound.dump();
    // Of the small files beside tokenizer.json, an empty one is one that the folder lacks.
    for (size_t size = document.name.ends_with("_config.json") ? 1 : 0; size < text.size(); ++size)
      expect_refused(document, text.substr(0, size));
  });
}

TEST_F(HostileJson, AnyChangedByteIsAnErrorOrAnotherFile) {
  each("bytes", [](const Document& document) {
    const auto text = document.sound.dump();
    for (size_t at = 0; at < text.size(); ++at)
      for (const int flip : {0x01, 0x20, 0x80}) {
        auto changed = text;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        if (flip == 0x80) {
          expect_refused(document, changed);  // it is no UTF-8
        } else {
          (void)given(document, changed);
        }
      }
  });
}

TEST_F(HostileJson, AnyTypeMayStandInAnyPlace) {
  each("types", [](const Document& document) {
    each_place(document, [&](const Pointer& at) {
      for (const char* raw : {"null", "true", "-1", "1e300", R"("text")", R"("")", "[]", "{}", R"([1, "x", null])",
                              R"({"type": "BPE"})", R"([[], {"a": []}])"})
        (void)given(document, with_value(document.sound, at, raw));
    });
  });
}

TEST_F(HostileJson, AnyNumberMayStandInAnyPlace) {
  each("numbers", [](const Document& document) {
    each_place(document, [&](const Pointer& at) {
      for (const char* raw : {"0",
                              "1",
                              "-1",
                              "-0.0",
                              "1.5",
                              "255",
                              "65536",
                              "2147483647",
                              "2147483648",
                              "4294967295",
                              "4294967296",
                              "9007199254740993",
                              "9223372036854775807",
                              "9223372036854775808",
                              "-9223372036854775808",
                              "18446744073709551615",
                              "18446744073709551616",
                              "1e308",
                              "1e-400",
                              "5e-324"})
        (void)given(document, with_value(document.sound, at, raw));
      for (const char* raw : {"1e400", "-1e400", "NaN", "Infinity", "-Infinity", "0x10", "01", "1."})
        expect_refused(document, with_value(document.sound, at, raw), "not valid JSON");
    });
  });
}

TEST_F(HostileJson, AKeyThatStandsTwiceIsRefused) {
  each("structure", [](const Document& document) {
    each_place(document, [&](const Pointer& at) {
      if (at.empty() || !document.sound[at.parent_pointer()].is_object()) return;
      auto root = document.sound;
      root[at.parent_pointer()][kMark] = root[at];
      expect_refused(document, with_mark_replaced(root, json(at.back()).dump()), "twice");
    });
  });
}

TEST_F(HostileJson, DeepNestingInAnyPlaceIsRefused) {
  constexpr int kDepth = 100'000;
  each("nesting", [](const Document& document) {
    for (const auto& [open, close] : {std::pair{"[", "]"}, {R"({"a":)", "}"}, {R"([{"a":)", "}]"}}) {
      std::string opened, closed;
      for (int i = 0; i < kDepth; ++i) opened += open;
      closed = opened + "1";
      for (int i = 0; i < kDepth; ++i) closed += close;
      each_place(document, [&](const Pointer& at) {
        expect_refused(document, with_value(document.sound, at, opened), "nested deeper");
        expect_refused(document, with_value(document.sound, at, closed), "nested deeper");
      });
    }
  });
}

TEST_F(HostileJson, TextThatIsNoUnicodeIsRefusedAndAnyOtherTaken) {
  const auto long_text = '"' + std::string(10000, 'x') + '"';
  each("text", [&](const Document& document) {
    each_place(document, [&](const Pointer& at) {
      // Not UTF-8, an overlong form, a surrogate, a character cut short, and one that is none; then half a pair.
      for (const char* raw : {"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xe2\x82\"", "\"\xf5\x80\x80\x80\"",
                              R"("\ud800")", R"("\udc00\ud800")", "\"\n\"", R"("\x41")", "'a'"})
        expect_refused(document, with_value(document.sound, at, raw), "not valid JSON");
      for (const std::string& raw : {std::string(R"("\u0000\u001b[31m\u007f\u0085\n")"), std::string("\"\x7f\""),
                                     std::string(R"("../../etc/passwd")"), std::string(R"("\u202e\ufeff")"), long_text})
        (void)given(document, with_value(document.sound, at, raw));
      if (at.empty() || !document.sound[at.parent_pointer()].is_object()) return;
      auto root = document.sound;  // and as a key
      root[at.parent_pointer()][kMark] = 1;
      expect_refused(document, with_mark_replaced(root, "\"\xff\""), "not valid JSON");
      for (const std::string& raw : {std::string(R"("\u0000\u001b[31m\u007f\n")"), std::string("\"\x7f\""), long_text})
        (void)given(document, with_mark_replaced(root, raw));
    });
  });
}

}  // namespace
}  // namespace onebit
