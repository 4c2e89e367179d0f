// Any bytes as a source: one sentence, or a grammar whose masks allow exactly what its matcher takes. The first byte
// chooses the language.
#include <cstdlib>

#include "grammar/grammar_cache.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  using namespace onebit::grammar;
  static const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  if (size == 0 || size > 4096) return 0;
  constexpr Language kLanguages[] = {Language::kGbnf, Language::kRegex, Language::kJsonSchema, Language::kChoice,
                                     Language::kTools};
  const auto language = kLanguages[bytes[0] % 5];
  GrammarCache cache(tokenizer);
  const auto grammar = cache.get(language, {reinterpret_cast<const char*>(bytes) + 1, size - 1});
  if (!grammar) {
    if (grammar.error().message.empty() || grammar.error().message.size() > 1000) std::abort();
    return 0;
  }
  Matcher matcher(*grammar);
  TokenMask mask;
  for (int step = 0; step < 6 && !matcher.must_end(); ++step) {
    if (!matcher.next(mask)) return 0;
    TokenId chosen = -1;
    for (TokenId id = 0; static_cast<size_t>(id) < tokenizer.vocabulary_size(); ++id) {
      auto copy = matcher;
      if (copy.accept(id) != allows(mask, id)) std::abort();
      if (allows(mask, id) && !tokenizer.is_stop(id) && (chosen < 0 || (id * 7 + step) % 3 == 0)) chosen = id;
    }
    if (chosen < 0) std::abort();  // a dead end
    (void)matcher.accept(chosen);
  }
  return 0;
}
