// wgmma m64nNk16: d[64, N] += a[64, 16] * b[16, N], bf16, a in registers.
//
// d and a of warp w of the four lie as in m16n8k16 (mma.cuh) for rows 16 w to
// 16 w + 15; b is in shared memory, rows of 128 bytes swizzled
// (weight_format.h).
#ifndef CARAT_BACKEND_CUDA_WGMMA_CUH_
#define CARAT_BACKEND_CUDA_WGMMA_CUH_

#include <cstdint>

namespace carat::cuda {

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving reads of d over the wait before them.
template <int kSize>
__device__ __forceinline__ void pin(float (&d)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

template <int kSteps>
__device__ __forceinline__ void pin(uint32_t (&a)[kSteps][4]) {
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[s][i]));
  }
}

// Rows of 128 bytes in K order, 128-byte swizzle, eight rows every 1024 bytes.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | (1ull << 16) |
         (64ull << 32) | (1ull << 62);
}

// For b[k][n]: k in rows of 128 bytes (64 n), eight of them every 1024 bytes.
__device__ __forceinline__ uint64_t
wgmma_descriptor_transposed(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | (64ull << 16) |
         (64ull << 32) | (1ull << 62);
}

template <int kWidth>
struct Wgmma;

// With accumulate == 0, d = a * b.
#define CARAT_WGMMA(width, registers, operands, predicate, ...)               \
  template <>                                                                 \
  struct Wgmma<width> {                                                       \
    static __device__ __forceinline__ void step(float (&d)[width / 2],        \
                                                const uint32_t (&a)[4],       \
                                                uint64_t b, int accumulate) { \
      asm volatile("{.reg .pred p;\nsetp.ne.b32 p, " predicate                \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #width           \
                   "k16.f32.bf16.bf16 {" registers "}, " operands             \
                   ", 1, 1, 0;}\n"                                            \
                   : __VA_ARGS__                                              \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),      \
                     "r"(accumulate));                                        \
    }                                                                         \
  }

#define CARAT_D8(i)                                                           \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), \
      "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

#define CARAT_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

// clang-format off
CARAT_WGMMA(24,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11",
            "{%12, %13, %14, %15}, %16, p", "%17",
            CARAT_D8(0), CARAT_D4(8));

CARAT_WGMMA(32,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15",
            "{%16, %17, %18, %19}, %20, p", "%21",
            CARAT_D8(0), CARAT_D8(8));

CARAT_WGMMA(48,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23",
            "{%24, %25, %26, %27}, %28, p", "%29",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16));

CARAT_WGMMA(64,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31",
            "{%32, %33, %34, %35}, %36, p", "%37",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24));

CARAT_WGMMA(72,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35",
            "{%36, %37, %38, %39}, %40, p", "%41",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D4(32));

CARAT_WGMMA(104,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
            "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51",
            "{%52, %53, %54, %55}, %56, p", "%57",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D8(32), CARAT_D8(40), CARAT_D4(48));

CARAT_WGMMA(128,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
            "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
            "%60, %61, %62, %63",
            "{%64, %65, %66, %67}, %68, p", "%69",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D8(32), CARAT_D8(40), CARAT_D8(48), CARAT_D8(56));

CARAT_WGMMA(152,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
            "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
            "%60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "
            "%72, %73, %74, %75",
            "{%76, %77, %78, %79}, %80, p", "%81",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D8(32), CARAT_D8(40), CARAT_D8(48), CARAT_D8(56), CARAT_D8(64), CARAT_D4(72));

CARAT_WGMMA(160,
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
            "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
            "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
            "%60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "
            "%72, %73, %74, %75, %76, %77, %78, %79",
            "{%80, %81, %82, %83}, %84, p", "%85",
            CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D8(32), CARAT_D8(40), CARAT_D8(48), CARAT_D8(56), CARAT_D8(64), CARAT_D8(72));

// clang-format on

// f16, N = 64: a from shared memory, rows of 128 bytes like b.
__device__ __forceinline__ void wgmma_f16(float (&d)[32], uint64_t a,
                                          uint64_t b, int accumulate) {
  asm volatile(
      "{.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
      "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;}\n"
      : CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24)
      : "l"(a), "l"(b), "r"(accumulate));
}
// f16, N = 64: a from registers; b[k][n] in shared memory, n in rows of 128
// bytes.
__device__ __forceinline__ void wgmma_f16_transposed(float (&d)[32],
                                                     const uint32_t (&a)[4],
                                                     uint64_t b,
                                                     int accumulate) {
  asm volatile(
      "{.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
      "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;}\n"
      : CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}
// Shared memory written by this thread is seen by wgmma after the next barrier.
__device__ __forceinline__ void show_to_wgmma() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#undef CARAT_WGMMA
#undef CARAT_D8
#undef CARAT_D4

}  // namespace carat::cuda

#endif  // CARAT_BACKEND_CUDA_WGMMA_CUH_
