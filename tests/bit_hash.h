// A hash of floats' bits, to compare them with those of another machine.
#ifndef CARAT_TESTS_BIT_HASH_H_
#define CARAT_TESTS_BIT_HASH_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace carat {

/// FNV-1a, of 64 bits; `hash` goes on where another left off.
inline uint64_t hash_of(std::span<const float> values,
                        uint64_t hash = 0xcbf29ce484222325u) {
  std::vector<unsigned char> bytes(values.size_bytes());
  std::memcpy(bytes.data(), values.data(), bytes.size());
  for (const unsigned char byte : bytes) {
    hash = (hash ^ byte) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace carat

#endif  // CARAT_TESTS_BIT_HASH_H_
