// The printable characters that vocabularies of byte-level BPE write bytes with (GPT-2): Latin-1's printable ones as
// themselves, the others as U+0100 and on, in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace onebit {

std::string bytes_to_alphabet(std::string_view bytes);
/// None where a character stands for no byte.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace onebit
