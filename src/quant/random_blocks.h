// Made-up weights in any file encoding, for measuring speed.
#ifndef CARAT_QUANT_RANDOM_BLOCKS_H_
#define CARAT_QUANT_RANDOM_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/encoding.h"

namespace carat {

/// SplitMix64: a stream of 64-bit numbers that is the same everywhere.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  /// A stream of its own for each name.
  SplitMix64(uint64_t seed, std::string_view name);

  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

/// Fills `blocks`, whole blocks of `encoding`, with codes of every value and
/// scales such that the weights have mean 0 and standard deviation `deviation`
/// (2^-10 to 1, so that no scale leaves the range of f16).
/// Throws: Error{kInvalidArgument} if `blocks` is not whole blocks or
/// `deviation` is out of range.
void fill_random_blocks(Encoding encoding, double deviation, SplitMix64& random,
                        std::span<std::byte> blocks);

}  // namespace carat

#endif  // CARAT_QUANT_RANDOM_BLOCKS_H_
