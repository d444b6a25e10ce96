// How weights and activations lie in device memory; shared by host and device.
//
// A weight matrix [N, K] is cut into tiles of 64 outputs x 64 k, stored
// [N / 64][K / 64], padded with zeros. A tile is four slices of 16 outputs, and
// a slice is what one warp multiplies in four m16n8k16 steps:
//   codes   4 bits: 16 bytes a lane, one 32-bit word a step. Lane = 4 g + q
//           holds rows g and g + 8 and k = 2q, 2q+1, 2q+8, 2q+9 of each step;
//           the pair (k, k + 1) of fragment register x lies at the bits 4x and
//           16 + 4x.
//           8 bits: two such planes (steps 0-1, 2-3), two words a step (k = 2q,
//           then k = 2q+8), bytes [k: g, g+8][k+1: g, g+8].
//   scales  a group: 8 words {bf16 of row g, bf16 of row g + 8}, then, with
//           biases, 8 words of those. A group of 128 is stored in both tiles.
//
// A code in the low bits of 16 is a bf16 number as it stands: code * 2^-133,
// subnormal or not, and 2^4 times that where it lies four bits higher, as the
// 4-bit codes of rows g + 8 do. So one fma, rounded once, turns it into the
// weight times 2^-32: stored scales are scale * 2^101, for the 4-bit codes of
// rows g + 8 scale * 2^97, and biases bias * 2^-32. Without biases the codes
// are stored around 8 (4 bits) or 128, and the bias is that times the scale.
// Sums are multiplied by 2^32 where they are stored.
//
// Activations [rows, K] are bf16, stored [K / 64][capacity][64]: rows of 128
// bytes whose 16-byte chunks are swapped by chunk ^ (row & 7), which is wgmma's
// 128-byte swizzle, so any run of rows is copied to shared memory as it is.
#ifndef CARAT_BACKEND_CUDA_WEIGHT_FORMAT_H_
#define CARAT_BACKEND_CUDA_WEIGHT_FORMAT_H_

#include <cstdint>

#ifdef __CUDACC__
#define CARAT_HOST_DEVICE __host__ __device__
#else
#define CARAT_HOST_DEVICE
#endif

namespace carat::cuda {

inline constexpr int kTileRows = 64;
inline constexpr int kTileCols = 64;
inline constexpr int kSliceRows = 16;
inline constexpr int kSlices = kTileRows / kSliceRows;
inline constexpr int kStepCols = 16;
inline constexpr int kStepsPerTile = kTileCols / kStepCols;
/// Sums over absolute ranges of K are finished on their own and then added in
/// ascending order. A range is one or, where K is long, two blocks of tiles.
inline constexpr int kBlockTiles = 8;
inline constexpr int kLongTiles = 64;
CARAT_HOST_DEVICE constexpr int range_tiles(int k_tiles) {
  return k_tiles > kLongTiles ? 2 * kBlockTiles : kBlockTiles;
}
CARAT_HOST_DEVICE constexpr int range_count(int k_tiles) {
  return (k_tiles + range_tiles(k_tiles) - 1) / range_tiles(k_tiles);
}
inline constexpr int kGroupWords = 8;

/// Subtracted from stored codes where there are no biases.
CARAT_HOST_DEVICE constexpr int centre_of(int bits) {
  return bits == 4 ? 8 : 128;
}
/// Powers of two: of the lowest bit of a bf16 number, and those by which
/// weights and sums are multiplied.
inline constexpr int kLowestExponent = -133;
inline constexpr int kWeightExponent = -32;
inline constexpr float kSumFactor = 0x1p32f;
/// How far a code lies above the lowest bit, for rows g (0) or g + 8 (1).
CARAT_HOST_DEVICE constexpr int code_shift(int bits, int side) {
  return bits == 4 ? 4 * side : 0;
}
/// Powers of two by which scales are multiplied.
CARAT_HOST_DEVICE constexpr int scale_exponent(int bits, int side) {
  return kWeightExponent - kLowestExponent - code_shift(bits, side);
}

/// A matrix in tiles, as kernels see it.
struct WeightTiles {
  const uint8_t* data = nullptr;
  int32_t rows = 0;             ///< N
  int32_t k_tiles = 0;          ///< K / 64, rounded up
  int32_t bits = 4;             ///< 4 or 8
  int32_t slice_bytes = 0;      ///< a multiple of 32
  int32_t steps_per_group = 4;  ///< 1, 2 or 4
  int32_t has_bias = 0;
};

constexpr int32_t slice_bytes_of(int bits, int groups, bool has_bias) {
  return 128 * bits + groups * 4 * kGroupWords * (has_bias ? 2 : 1);
}

/// Activations ready to be multiplied.
struct ActivationSlab {
  uint8_t* data = nullptr;
  int32_t capacity = 0;  ///< rows of a k tile, a multiple of 8
  int32_t k_tiles = 0;
};

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_WEIGHT_FORMAT_H_
