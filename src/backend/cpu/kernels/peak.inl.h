// What the machine can do at most, for comparison.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

// Every product of a turn is of another pair, or the compiler would compute it
// once; operands and sums stay in registers.
int64_t peak_dots(int64_t iterations) {
  constexpr int kCodes = kHalves == 2 ? 3 : 2;
  constexpr int kQuads = kHalves == 2 ? 4 : 2;
  constexpr int kTurns = 16;
  uint8_t codes[kCodes * 64];
  int8_t x[kTurns * kQuads * 4];
  for (int i = 0; i < kCodes * 64; ++i) codes[i] = static_cast<uint8_t>(i % 15);
  for (int i = 0; i < kTurns * kQuads * 4; ++i) {
    x[i] = static_cast<int8_t>(i - 99);
  }
  Codes c[kCodes];
  DotSum<4> sums[kCodes][kQuads];
  CARAT_UNROLL
  for (int j = 0; j < kCodes; ++j) {
    c[j] = load_codes(codes + j * 64);
    CARAT_UNROLL
    for (int q = 0; q < kQuads; ++q) begin_dot(sums[j][q], nullptr);
  }
  for (int64_t i = 0; i < iterations; i += kTurns) {
    // Many turns at once, since a compiler may move the sums from register to
    // register between iterations; of activations that it does not know.
    const int8_t* bytes = x;
    asm volatile("" : "+r"(bytes));
    CARAT_UNROLL
    for (int turn = 0; turn < kTurns; ++turn) {
      CARAT_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        const Quad four = load_quad<4>(bytes + (turn * kQuads + q) * 4);
        CARAT_UNROLL
        for (int j = 0; j < kCodes; ++j) add_dot(sums[j][q], c[j], four);
      }
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
  return (iterations + kTurns - 1) / kTurns * kTurns * kCodes * kQuads * 64;
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
