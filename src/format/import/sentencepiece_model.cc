#include "format/import/sentencepiece_model.h"

#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "format/sentencepiece.h"

namespace onebit {
namespace {

/// One field of a message: a number or bytes, by its wire type.
struct ProtoField {
  uint32_t number = 0;
  uint32_t wire_type = 0;  // 0 varint, 1 eight bytes, 2 bytes with a length, 5 four bytes
  uint64_t value = 0;
  std::string_view bytes;
};

/// The fields of one message, front to back.
class ProtoMessage {
 public:
  ProtoMessage(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  bool at_end() const { return bytes_.empty(); }

  Result<ProtoField> next() {
    ASSIGN_OR_RETURN(const uint64_t tag, varint());
    ProtoField field;
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return fail("{}: a field has the number {}", name_, tag >> 3);
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire_type = static_cast<uint32_t>(tag & 7);
    switch (field.wire_type) {
      case 0: {
        ASSIGN_OR_RETURN(field.value, varint());
        return field;
      }
      case 1:
      case 5: {
        ASSIGN_OR_RETURN(const auto fixed, take(field.wire_type == 1 ? 8 : 4));
        std::memcpy(&field.value, fixed.data(), fixed.size());
        return field;
      }
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t size, varint());
        ASSIGN_OR_RETURN(field.bytes, take(size));
        return field;
      }
      default:
        return fail("{}: field {} is of the unknown kind {}", name_, field.number, field.wire_type);
    }
  }

 private:
  static_assert(std::endian::native == std::endian::little);

  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < 10 && i < bytes_.size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes_[i]);
      if (i == 9 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte >= 0x80) continue;
      bytes_.remove_prefix(i + 1);
      return value;
    }
    return fail("{}: a number is cut short or too large", name_);
  }

  Result<std::string_view> take(uint64_t size) {
    if (size > bytes_.size()) return fail("{}: {} bytes announced, but {} are left", name_, size, bytes_.size());
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  std::string_view bytes_;
  std::string_view name_;
};

Status check_wire_type(const ProtoField& field, uint32_t expected, std::string_view name) {
  if (field.wire_type == expected) return {};
  return fail("{}: is of kind {}, expected {}", name, field.wire_type, expected);
}

Result<SentencePiece> read_piece(std::string_view bytes) {
  SentencePiece piece;
  for (ProtoMessage message(bytes, "pieces"); !message.at_end();) {
    ASSIGN_OR_RETURN(const ProtoField field, message.next());
    if (field.number == 1) {
      RETURN_IF_ERROR(check_wire_type(field, 2, "pieces: piece"));
      piece.text = field.bytes;
    } else if (field.number == 2) {
      RETURN_IF_ERROR(check_wire_type(field, 5, "pieces: score"));
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    } else if (field.number == 3) {
      RETURN_IF_ERROR(check_wire_type(field, 0, "pieces: type"));
      piece.type = static_cast<PieceType>(field.value);
    }
  }
  return piece;
}

/// A field that must have one value; the last of several counts.
struct NumberSetting {
  uint32_t number;
  const char* name;
  uint64_t expected;
  uint64_t value;  // at first what stands for an absent field
};

/// Reads a message of settings. Bytes in the field `empty`, if any, are refused.
Status read_settings(std::string_view bytes, const char* name, std::span<NumberSetting> settings, uint32_t empty) {
  for (ProtoMessage message(bytes, name); !message.at_end();) {
    ASSIGN_OR_RETURN(const ProtoField field, message.next());
    if (field.number == empty && (field.wire_type != 2 || !field.bytes.empty()))
      return fail("{}: has rules to change characters by, which this version does not support", name);
    for (auto& setting : settings) {
      if (setting.number != field.number) continue;
      RETURN_IF_ERROR(check_wire_type(field, 0, fmt::format("{}: {}", name, setting.name)));
      setting.value = field.value;
    }
  }
  return {};
}

Status check_settings(const char* name, std::span<const NumberSetting> settings) {
  for (const auto& setting : settings)
    if (setting.value != setting.expected)
      return fail("{}: {}: found {}, this version supports {}", name, setting.name, setting.value, setting.expected);
  return {};
}

}  // namespace

Result<TokenizerData> read_sentencepiece_model(std::string_view bytes, uint32_t vocabulary) {
  std::vector<SentencePiece> pieces;
  NumberSetting trainer[] = {{3, "model_type", 2, 1},  // BPE; unigram if absent
                             {24, "treat_whitespace_as_suffix", 0, 0},
                             {35, "byte_fallback", 1, 0}};
  NumberSetting normalizer[] = {{4, "remove_extra_whitespaces", 0, 1}, {5, "escape_whitespaces", 1, 1}};
  NumberSetting prefix[] = {{3, "add_dummy_prefix", 1, 1}};
  for (ProtoMessage message(bytes, "model"); !message.at_end();) {
    ASSIGN_OR_RETURN(const ProtoField field, message.next());
    if (field.number > 3) continue;
    RETURN_IF_ERROR(check_wire_type(field, 2, fmt::format("model: field {}", field.number)));
    if (field.number == 1) {
      if (pieces.size() == vocabulary) return fail("pieces: more than {}, the rows that the model has", vocabulary);
      ASSIGN_OR_RETURN(pieces.emplace_back(), read_piece(field.bytes));
    } else if (field.number == 2) {
      RETURN_IF_ERROR(read_settings(field.bytes, "trainer_spec", trainer, 0));
    } else {
      RETURN_IF_ERROR(read_settings(field.bytes, "normalizer_spec", normalizer, 2));
      RETURN_IF_ERROR(read_settings(field.bytes, "normalizer_spec", prefix, 2));
    }
  }
  RETURN_IF_ERROR(check_settings("trainer_spec", trainer));
  RETURN_IF_ERROR(check_settings("normalizer_spec", normalizer));
  return tokenizer_from_pieces(pieces, vocabulary, prefix[0].value != 0 ? SpacePrefix::kStretch : SpacePrefix::kNone);
}

}  // namespace onebit
