// What the machine can do at most, for comparison.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// Every product of a turn is of another pair, or the compiler would compute it
// once; operands and sums stay in registers.
int64_t peak_dots(int64_t iterations) {
  constexpr int kCodes = kHalves == 2 ? 3 : 2;
  constexpr int kQuads = kHalves == 2 ? 4 : 2;
  uint8_t codes[kCodes * 64];
  int8_t x[16 * kQuads * 4];
  for (int i = 0; i < kCodes * 64; ++i) codes[i] = static_cast<uint8_t>(i % 15);
  for (int i = 0; i < 16 * kQuads * 4; ++i) x[i] = static_cast<int8_t>(i - 99);
  Codes c[kCodes];
  DotSum<4> sums[kCodes][kQuads];
  CARAT_UNROLL
  for (int j = 0; j < kCodes; ++j) {
    c[j] = load_codes(codes + j * 64);
    CARAT_UNROLL
    for (int q = 0; q < kQuads; ++q) begin_dot(sums[j][q], nullptr);
  }
  for (int64_t i = 0; i < iterations; ++i) {
    Quad four[kQuads];
    CARAT_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      four[q] = load_quad<4>(x + (i % 16 * kQuads + q) * 4);
    }
    CARAT_UNROLL
    for (int j = 0; j < kCodes; ++j) {
      CARAT_UNROLL
      for (int q = 0; q < kQuads; ++q) add_dot(sums[j][q], c[j], four[q]);
    }
  }
  int32_t total = 0;
  CARAT_UNROLL
  for (int j = 0; j < kCodes; ++j) {
    CARAT_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      total += reduce_add(end_dot(sums[j][q], nullptr));
    }
  }
  asm volatile("" ::"r"(total));
  return iterations * kCodes * kQuads * 64;
}

uint32_t read_stream(const uint8_t* data, int64_t bytes) {
  I32x16 sums[8];
  CARAT_UNROLL
  for (int j = 0; j < 8; ++j) sums[j] = broadcast(int32_t{0});
  for (int64_t at = 0; at < bytes; at += 512) {
    __builtin_prefetch(data + at + 2048);
    CARAT_UNROLL
    for (int j = 0; j < 8; ++j) {
      sums[j] = sums[j] + load_words(data + at + j * 64);
    }
  }
  CARAT_UNROLL
  for (int j = 1; j < 8; ++j) sums[0] = sums[0] + sums[j];
  return static_cast<uint32_t>(reduce_add(sums[0]));
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
