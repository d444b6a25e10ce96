// The memory objects of the CPU backend.
#ifndef CARAT_BACKEND_CPU_CPU_MEMORY_H_
#define CARAT_BACKEND_CPU_CPU_MEMORY_H_

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"
#include "base/aligned_buffer.h"

namespace carat::cpu {

class CpuBuffer : public Buffer {
 public:
  explicit CpuBuffer(int64_t floats);
  float* data() override { return memory_.as<float>(); }
  int64_t bytes() const override { return bytes_; }

 private:
  AlignedBuffer memory_;
  int64_t bytes_;
};

/// int8 activations with scales and sums; the padding of `codes` stays 0.
class CpuInput : public LinearInput {
 public:
  CpuInput(int64_t max_rows, int64_t cols);
  int64_t bytes() const override;
  const QuantizedRows& quantized() const { return quantized_; }

 private:
  AlignedBuffer codes_;
  AlignedBuffer scales_;
  AlignedBuffer sums_;
  QuantizedRows quantized_;
};

/// A block is [layers][kv_heads] of keys [head_dim][64] and values
/// [64][head_dim rounded up to 16], f16. Blocks lie in slabs that never move.
class CpuKv : public KvStorage {
 public:
  explicit CpuKv(const KvLayout& layout);
  int64_t block_bytes() const override { return block_halves_ * 2; }
  void grow(int64_t blocks) override;

  int64_t blocks() const { return blocks_; }
  /// From a head's keys to its values, in halves.
  int64_t value_offset() const { return value_offset_; }
  /// The keys of one head.
  uint16_t* keys(int64_t block, int layer, int kv_head) {
    return slabs_[block / slab_blocks_].as<uint16_t>() +
           block % slab_blocks_ * block_halves_ +
           (layer * layout().kv_heads + kv_head) * head_halves_;
  }

 private:
  int64_t value_offset_;
  int64_t head_halves_;
  int64_t block_halves_;
  int64_t slab_blocks_;
  int64_t blocks_ = 0;
  std::vector<AlignedBuffer> slabs_;
};

}  // namespace carat::cpu

#endif  // CARAT_BACKEND_CPU_CPU_MEMORY_H_
