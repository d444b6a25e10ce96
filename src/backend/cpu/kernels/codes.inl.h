// Codes of a weight tile: quads of 16 outputs, out of nibbles and planes; and
// whole tiles with a byte a code.
//
// A prefill uses a tile for every chunk of rows. Where taking codes apart
// shares the multiplier's ports (on Intel all vector operations of 512 bits
// have two, and of the 158 operations of a group's register tile 24 take
// nibbles apart), a tile is first written out as bytes, once for all chunks,
// which stay in L2. Measured on two cores of an Emerald Rapids, weights in L2,
// GMAC/s in place and unpacked: Q4_0 431 and 455, Q4_K 364 and 382, Q5_0 352
// and 452, Q6_K 268 and 335; of a peak of 686.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// Quad kQuad of the codes of a group, from its nibbles and its plane of bits.
template <int kCodeBits, int kQuad>
CARAT_INLINE Codes with_plane(Codes nibbles, const uint8_t* planes) {
  if constexpr (kCodeBits == 4) {
    return nibbles;
  } else {
    constexpr int kBits = kCodeBits - 4;
    constexpr int kQuads = 8 / kBits;
    return with_high_bits<4 - kQuad % kQuads * kBits, ((1 << kBits) - 1) << 4>(
        nibbles, load_codes(planes + kQuad / kQuads * 128));
  }
}

// Quads kQuad (even) and the next of a group of codes below 7 bits, of 16
// outputs.
template <int kCodeBits, int kQuad>
CARAT_INLINE void load_quads(const uint8_t* codes, Codes& first,
                             Codes& second) {
  constexpr int kPlaneBytes = (kCodeBits - 4) * 128;
  const Codes both = load_codes(codes + kPlaneBytes + kQuad / 2 * 128);
  second = with_plane<kCodeBits, kQuad + 1>(high_nibbles(both), codes);
  first = with_plane<kCodeBits, kQuad>(low_nibbles(both), codes);
}

// A kind of scales: how many a group of 32 has, whether with biases, whether
// in super-blocks.
template <int kStepsOf, bool kBiasOf, bool kSuperOf>
struct Scaling {
  static constexpr int kSteps = kStepsOf;
  static constexpr bool kBias = kBiasOf;
  static constexpr bool kSuper = kSuperOf;
  // Of an output: halves that begin a record, integers that begin a group.
  static constexpr int kRecordBytes = kBias ? 4 : 2;
  static constexpr int kGroupBytes = kSuper ? kSteps * (kBias ? 2 : 1) : 0;
};

// body(Scaling<...>()) for the scales of `w`; super-blocks only where some can
// be, since every kind is another kernel.
template <bool kCanBeSuper, class Body>
auto with_scaling(const WeightTiles& w, const Body& body) {
  const auto with_bias = [&]<int kSteps, bool kSuper>() {
    return w.has_bias ? body(Scaling<kSteps, true, kSuper>())
                      : body(Scaling<kSteps, false, kSuper>());
  };
  if constexpr (kCanBeSuper) {
    if (w.has_super_blocks) {
      return w.steps == 2 ? with_bias.template operator()<2, true>()
                          : with_bias.template operator()<1, true>();
    }
  }
  return with_bias.template operator()<1, false>();
}

// Bytes of the codes of a group of a tile, unpacked.
constexpr int64_t kByteCodes = kTile * kGroup;

template <int kCodeBits, int kQuad = 0>
CARAT_INLINE void unpack_group(const uint8_t* codes, uint8_t* out) {
  CARAT_UNROLL
  for (int h = 0; h < 2; ++h) {
    Codes first, second;
    load_quads<kCodeBits, kQuad>(codes + h * 64, first, second);
    uint8_t* to = out + kQuad * 128 + h * 64;
    __builtin_memcpy(to, &first, sizeof(first));
    __builtin_memcpy(to + 128, &second, sizeof(second));
  }
  if constexpr (kQuad + 2 < 8) unpack_group<kCodeBits, kQuad + 2>(codes, out);
}

// Tile `tile` of `w` at `out`, its codes in bytes.
template <int kCodeBits, class Scales>
void unpack_tile(const WeightTiles& w, int64_t tile, uint8_t* out) {
  const uint8_t* from = w.tiles + tile * w.tile_bytes;
  const int64_t record_groups = Scales::kSuper ? kSuperGroups : w.shared;
  for (int64_t g = 0; g < w.groups; ++g) {
    int64_t header = Scales::kGroupBytes * kTile;
    if (g % record_groups == 0) header += Scales::kRecordBytes * kTile;
    __builtin_memcpy(out, from, static_cast<uint64_t>(header));
    from += header;
    out += header;
    unpack_group<kCodeBits>(from, out);
    from += code_bytes(kCodeBits);
    out += kByteCodes;
  }
}

using UnpackTile = void (*)(const WeightTiles& w, int64_t tile, uint8_t* out);

template <int kCodeBits>
UnpackTile unpack_of_bits(const WeightTiles& w) {
  return with_scaling<true>(w, [](auto scales) -> UnpackTile {
    return unpack_tile<kCodeBits, decltype(scales)>;
  });
}

UnpackTile unpack_of(const WeightTiles& w) {
  switch (w.code_bits) {
    case 4:
      return unpack_of_bits<4>(w);
    case 5:
      return unpack_of_bits<5>(w);
    default:
      return unpack_of_bits<6>(w);
  }
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
