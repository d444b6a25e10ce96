// Gemma 3 shapes with random 4-bit weights: speed only.
#ifndef CARAT_BENCH_GPU_SYNTHETIC_CHECKPOINT_H_
#define CARAT_BENCH_GPU_SYNTHETIC_CHECKPOINT_H_

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "carat/error.h"
#include "model/checkpoint.h"

namespace carat {

struct SyntheticShape {
  const char* name;
  int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, window;
  double global_factor;
};
inline constexpr SyntheticShape kSyntheticShapes[] = {
    {"270m", 640, 18, 4, 1, 256, 2048, 512, 1},
    {"1b", 1152, 26, 4, 1, 256, 6912, 512, 1},
    {"4b", 2560, 34, 8, 4, 256, 10240, 1024, 8},
    {"12b", 3840, 48, 16, 8, 256, 15360, 1024, 8},
    {"27b", 5376, 62, 32, 16, 128, 21504, 1024, 8},
};

enum class SyntheticWeights {
  kQ4_0,
  kMlx4,  ///< groups of 64, scale and bias in bf16
};

/// Every matrix reads the same random codes; packing gives each its own copy.
class SyntheticCheckpoint : public Checkpoint {
 public:
  explicit SyntheticCheckpoint(
      const SyntheticShape& s,
      SyntheticWeights weights = SyntheticWeights::kQ4_0)
      : weights_(weights) {
    config_.model_type = "gemma3";
    config_.name = std::string("synthetic ") + s.name;
    config_.vocab_size = 262144;
    config_.hidden_size = s.hidden;
    config_.intermediate_size = s.intermediate;
    config_.num_attention_heads = s.heads;
    config_.num_key_value_heads = s.kv_heads;
    config_.head_dim = s.head_dim;
    config_.max_position_embeddings = 131072;
    config_.query_pre_attn_scalar = static_cast<double>(s.head_dim);
    config_.embedding_scale = std::sqrt(static_cast<double>(s.hidden));
    config_.default_chunk_tokens = 128;
    const int64_t most_codes = config_.vocab_size * s.hidden;
    if (weights == SyntheticWeights::kQ4_0) {
      fill_blocks(most_codes / kBlockCodes);
    } else {
      fill_groups(most_codes / kGroupCodes);
    }
    ones_.assign(static_cast<size_t>(s.hidden), 1.0f);
    add_matrix("embed_tokens", config_.vocab_size, s.hidden);
    add_vector("norm", s.hidden);
    for (int64_t i = 0; i < s.layers; ++i) {
      const bool is_global = (i + 1) % 6 == 0;
      config_.layers.push_back({is_global ? 0 : s.window, is_global ? 1e6 : 1e4,
                                is_global ? s.global_factor : 1.0});
      const std::string layer = "layers." + std::to_string(i) + ".";
      const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
      add_matrix(layer + "self_attn.q_proj", q, s.hidden);
      add_matrix(layer + "self_attn.k_proj", kv, s.hidden);
      add_matrix(layer + "self_attn.v_proj", kv, s.hidden);
      add_matrix(layer + "self_attn.o_proj", s.hidden, q);
      add_matrix(layer + "mlp.gate_proj", s.intermediate, s.hidden);
      add_matrix(layer + "mlp.up_proj", s.intermediate, s.hidden);
      add_matrix(layer + "mlp.down_proj", s.hidden, s.intermediate);
      for (const char* norm :
           {"input_layernorm", "post_attention_layernorm",
            "pre_feedforward_layernorm", "post_feedforward_layernorm"}) {
        add_vector(layer + norm, s.hidden);
      }
      add_vector(layer + "self_attn.q_norm", s.head_dim);
      add_vector(layer + "self_attn.k_norm", s.head_dim);
    }
  }

  std::string format() const override { return "synthetic"; }
  const RawTensor* find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  void release(const RawTensor&) const override {}  // all share their bytes
  const std::vector<RawTensor>& tensors() const override { return tensors_; }
  std::unique_ptr<Tokenizer> load_tokenizer() const override {
    throw Error(ErrorCode::kUnsupported, "synthetic: no tokenizer");
  }

 private:
  static constexpr int64_t kBlockBytes = 18, kBlockCodes = 32;  // of Q4_0
  static constexpr int64_t kGroupBytes = 32, kGroupCodes = 64;  // of MLX
  static constexpr int64_t kBf16Bytes = 2;

  static void fill_random(std::vector<std::byte>& bytes, int64_t count) {
    bytes.resize(static_cast<size_t>(count));
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      std::memcpy(&bytes[i], &state, 8);
    }
  }
  void fill_blocks(int64_t count) {
    fill_random(codes_, count * kBlockBytes);
    for (int64_t i = 0; i < count; ++i) {  // f16 scales of 0.004 to 0.005
      codes_[static_cast<size_t>(i * kBlockBytes) + 1] = std::byte{0x1c};
    }
  }
  void fill_groups(int64_t count) {
    fill_random(codes_, count * kGroupBytes);
    fill_random(scales_, count * kBf16Bytes);
    biases_ = scales_;
    for (size_t i = 0; i < scales_.size(); i += kBf16Bytes) {
      // 0.004 to 0.008, and -8 times that.
      scales_[i] |= std::byte{0x80};
      scales_[i + 1] = std::byte{0x3b};
      biases_[i] &= std::byte{0x7f};
      biases_[i + 1] = std::byte{0xbd};
    }
  }
  void add(const std::string& name, RawTensor tensor) {
    tensor.name = name;
    index_[name] = tensors_.size();
    tensors_.push_back(std::move(tensor));
  }
  void add_matrix(const std::string& name, int64_t rows, int64_t cols) {
    const auto first = [](const std::vector<std::byte>& all, int64_t bytes) {
      return std::span(all).first(static_cast<size_t>(bytes));
    };
    if (weights_ == SyntheticWeights::kQ4_0) {
      const int64_t blocks = rows * cols / kBlockCodes;
      add(name, {name,
                 Encoding::kQ4_0,
                 {rows, cols},
                 first(codes_, blocks * kBlockBytes)});
      return;
    }
    const int64_t groups = rows * cols / kGroupCodes;
    add(name, {name,
               Encoding::kMlx4,
               {rows, cols},
               first(codes_, groups * kGroupBytes),
               {static_cast<int>(kGroupCodes), Encoding::kBF16,
                first(scales_, groups * kBf16Bytes),
                first(biases_, groups * kBf16Bytes)}});
  }
  void add_vector(const std::string& name, int64_t size) {
    add(name, {name,
               Encoding::kF32,
               {size},
               std::as_bytes(std::span(ones_))
                   .first(static_cast<size_t>(size) * sizeof(float))});
  }

  SyntheticWeights weights_;
  std::vector<std::byte> codes_, scales_, biases_;
  std::vector<float> ones_;
  std::vector<RawTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace carat

#endif  // CARAT_BENCH_GPU_SYNTHETIC_CHECKPOINT_H_
