#include "tests/support/gguf_edit.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace onebit::test {
namespace {

uint64_t up(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

struct Reader {
  const std::string& file;
  size_t at = 0;
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, file.data() + at, sizeof value);
    at += sizeof value;
    return value;
  }
  std::string text() {
    const auto size = number<uint64_t>();
    at += size;
    return file.substr(at - size, size);
  }
  void skip(uint32_t type) {
    constexpr size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == kGString) {
      text();
    } else if (type == kGArray) {
      const auto element = number<uint32_t>();
      for (auto n = number<uint64_t>(); n > 0; --n) skip(element);
    } else {
      at += sizes[type];
    }
  }
};

std::string header(const GgufParts& parts) {
  std::string out =
      "GGUF" + raw(parts.version) + raw(uint64_t{parts.tensors.size()}) + raw(uint64_t{parts.metadata.size()});
  for (const auto& pair : parts.metadata) out += gguf_text(pair.key) + pair.value;
  uint64_t offset = 0;
  for (const auto& t : parts.tensors) {
    out += gguf_text(t.name) + raw(static_cast<uint32_t>(t.shape.size()));
    for (const auto n : t.shape) out += raw(n);
    out += raw(t.type) + raw(offset);
    offset = up(offset + t.data.size(), parts.alignment);
  }
  out.resize(up(out.size(), parts.alignment));
  return out;
}

}  // namespace

std::string gguf_array(GgufValueType type, uint64_t count, std::string_view elements) {
  return raw(uint32_t{kGArray}) + raw(uint32_t{type}) + raw(count) + std::string(elements);
}

std::string gguf_array(const std::vector<std::string>& texts) {
  std::string elements;
  for (const auto& text : texts) elements += gguf_text(text);
  return gguf_array(kGString, texts.size(), elements);
}

std::string& GgufParts::value(std::string_view key) {
  for (auto& pair : metadata)
    if (pair.key == key) return pair.value;
  throw std::out_of_range(std::string(key));
}

GgufParts::Entry& GgufParts::tensor(std::string_view name) {
  for (auto& t : tensors)
    if (t.name == name) return t;
  throw std::out_of_range(std::string(name));
}

void GgufParts::set(std::string_view key, std::string new_value) {
  for (auto& pair : metadata)
    if (pair.key == key) {
      pair.value = std::move(new_value);
      return;
    }
  metadata.push_back({std::string(key), std::move(new_value)});
}

void GgufParts::remove(std::string_view name) {
  std::erase_if(metadata, [&](const Pair& pair) { return pair.key == name; });
  std::erase_if(tensors, [&](const Entry& t) { return t.name == name; });
}

size_t gguf_header_bytes(const GgufParts& parts) {
  return header(parts).size();
}

std::string gguf_bytes(const GgufParts& parts) {
  auto out = header(parts);
  for (const auto& t : parts.tensors) {
    out.resize(up(out.size(), parts.alignment));
    out += t.data;
  }
  out.resize(up(out.size(), parts.alignment));
  return out;
}

GgufParts gguf_parts(const std::string& file) {
  GgufParts parts;
  Reader in{file, 4};
  parts.version = in.number<uint32_t>();
  const auto tensors = in.number<uint64_t>(), pairs = in.number<uint64_t>();
  for (uint64_t i = 0; i < pairs; ++i) {
    auto key = in.text();
    const size_t begin = in.at;
    in.skip(in.number<uint32_t>());
    parts.metadata.push_back({std::move(key), file.substr(begin, in.at - begin)});
  }
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufParts::Entry t;
    t.name = in.text();
    t.shape.resize(in.number<uint32_t>());
    for (auto& n : t.shape) n = in.number<uint64_t>();
    t.type = in.number<uint32_t>();
    offsets.push_back(in.number<uint64_t>());
    parts.tensors.push_back(std::move(t));
  }
  const size_t data = up(in.at, parts.alignment);
  offsets.push_back(file.size() - data);
  for (size_t i = 0; i < parts.tensors.size(); ++i)
    parts.tensors[i].data = file.substr(data + offsets[i], offsets[i + 1] - offsets[i]);
  return parts;
}

}  // namespace onebit::test
