// What the machine can do at most, for comparison.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

int64_t peak_dots(int64_t iterations) {
  constexpr int kSums = 12;
  uint8_t codes[64];
  int8_t x[4] = {1, -2, 3, -4};
  for (int i = 0; i < 64; ++i) codes[i] = static_cast<uint8_t>(i);
  const Codes c = load_codes(codes);
  const Quad four = load_quad<4>(x);
  DotSum<4> sums[kSums];
  for (auto& sum : sums) begin_dot(sum, nullptr);
  for (int64_t i = 0; i < iterations; ++i) {
    CARAT_UNROLL
    for (int j = 0; j < kSums; ++j) add_dot(sums[j], c, four);
    // Or the compiler would multiply once.
    asm volatile("" ::: "memory");
  }
  int32_t total = 0;
  for (const auto& sum : sums) total += reduce_add(end_dot(sum, nullptr));
  asm volatile("" ::"r"(total));
  return iterations * kSums * 64;
}

uint32_t read_stream(const uint8_t* data, int64_t bytes) {
  I32x16 sums[8];
  for (auto& sum : sums) sum = broadcast(int32_t{0});
  for (int64_t at = 0; at < bytes; at += 512) {
    CARAT_UNROLL
    for (int j = 0; j < 8; ++j) {
      float lanes[16];
      __builtin_memcpy(lanes, data + at + j * 64, 64);
      sums[j] = sums[j] + as_ints(load(lanes));
    }
  }
  for (int j = 1; j < 8; ++j) sums[0] = sums[0] + sums[j];
  return static_cast<uint32_t>(reduce_add(sums[0]));
}

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
