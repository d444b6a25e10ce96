#include "backend/cpu/cpu_memory.h"

#include <algorithm>

#include "base/checked.h"
#include "base/require.h"

namespace carat::cpu {
namespace {

// Reads of whole vectors may pass the end of a buffer's last row.
constexpr uint64_t kSlackFloats = 16;

// Two rows that a kernel reads together should not share cache sets.
constexpr int64_t kRowPadding = 64;

constexpr int64_t kSlabBytes = int64_t{16} << 20;

AlignedBuffer make_buffer(int64_t count, int64_t each, uint64_t size) {
  const char* what = "activations";
  return AlignedBuffer(
      checked_mul(checked_mul(static_cast<uint64_t>(count),
                              static_cast<uint64_t>(each), what),
                  size, what));
}

}  // namespace

CpuBuffer::CpuBuffer(int64_t floats) : bytes_(floats * 4) {
  require(floats >= 0, "allocate: a negative size");
  memory_ = AlignedBuffer(checked_mul(
      static_cast<uint64_t>(floats) + kSlackFloats, sizeof(float), "buffer"));
}

CpuInput::CpuInput(int64_t max_rows, int64_t cols)
    : LinearInput(max_rows, cols), quantized_{} {
  require(max_rows >= 0 && cols > 0, "make_input: a shape out of range");
  quantized_.groups = ceil_div(cols, kGroup);
  quantized_.stride = round_up(quantized_.groups * kGroup, 64) + kRowPadding;
  codes_ = make_buffer(max_rows, quantized_.stride, sizeof(int8_t));
  scales_ = make_buffer(max_rows, quantized_.groups, sizeof(float));
  sums_ = make_buffer(max_rows, quantized_.groups * 2, sizeof(int32_t));
  quantized_.codes = codes_.as<int8_t>();
  quantized_.scales = scales_.as<float>();
  quantized_.sums = sums_.as<int32_t>();
}

int64_t CpuInput::bytes() const {
  return static_cast<int64_t>(codes_.bytes() + scales_.bytes() + sums_.bytes());
}

CpuKv::CpuKv(const KvLayout& layout) : KvStorage(layout) {
  require(layout.layers >= 0 && layout.kv_heads > 0 && layout.head_dim > 0,
          "make_kv: a shape out of range");
  value_offset_ = int64_t{layout.head_dim} * kBlock;
  head_halves_ = value_offset_ + round_up(layout.head_dim, 16) * kBlock;
  block_halves_ = head_halves_ * layout.kv_heads * layout.layers;
  slab_blocks_ =
      std::max<int64_t>(1, kSlabBytes / std::max<int64_t>(1, block_bytes()));
}

void CpuKv::grow(int64_t blocks) {
  while (blocks_ < blocks) {
    slabs_.emplace_back(checked_mul(static_cast<uint64_t>(slab_blocks_),
                                    static_cast<uint64_t>(block_bytes()),
                                    "KV cache"));
    blocks_ += slab_blocks_;
  }
}

}  // namespace carat::cpu
