// The hash of the tokenizer's tables.
#ifndef CARAT_TEXT_HASH_H_
#define CARAT_TEXT_HASH_H_

#include <cstdint>
#include <cstring>
#include <string_view>

namespace carat {

/// Every bit of `value` reaches every bit of the result.
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
inline uint64_t mix_bits(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

inline uint64_t hash_text(std::string_view text) {
  uint64_t hash = text.size();
  while (text.size() >= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, text.data(), sizeof(word));
    hash = mix_bits(hash ^ word);
    text.remove_prefix(sizeof(word));
  }
  uint64_t tail = 0;
  for (const char byte : text) {
    tail = (tail << 8) | static_cast<unsigned char>(byte);
  }
  return mix_bits(hash ^ tail);
}

}  // namespace carat

#endif  // CARAT_TEXT_HASH_H_
