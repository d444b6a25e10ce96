#include "model/workspace.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "carat/error.h"

namespace carat {
namespace {

constexpr int64_t kStrideFloats = 16;

// Cuts matrices one after the other out of one buffer.
class Layout {
 public:
  void add(Matrix& matrix, int64_t rows, int64_t cols) {
    const int64_t stride = round_up(cols, kStrideFloats);
    matrix = {nullptr, rows, cols, stride};
    parts_.push_back({&matrix, floats_});
    floats_ += rows * stride;
  }
  std::unique_ptr<Buffer> allocate(Backend& backend) const {
    std::unique_ptr<Buffer> buffer = backend.allocate(floats_);
    for (const Part& part : parts_) {
      part.matrix->data = buffer->data() + part.offset;
    }
    return buffer;
  }

 private:
  struct Part {
    Matrix* matrix;
    int64_t offset;
  };
  std::vector<Part> parts_;
  int64_t floats_ = 0;
};

}  // namespace

Workspace::Workspace(Backend& backend, const ModelConfig& config)
    : backend_(&backend), config_(config) {}

void Workspace::fit(int64_t rows, int64_t logits_rows) {
  const int64_t heads_width = config_.num_attention_heads * config_.head_dim;
  const int64_t kv_width = config_.num_key_value_heads * config_.head_dim;
  if (rows > rows_) {
    row_buffer_.reset();  // before the new one: the peak is the larger alone
    rows_ = 0;            // what holds if the new one can't be had
    Layout layout;
    layout.add(x, rows, config_.hidden_size);
    layout.add(y, rows, config_.hidden_size);
    layout.add(q, rows, heads_width);
    layout.add(k, rows, kv_width);
    layout.add(v, rows, kv_width);
    for (Matrix& matrix : angles) layout.add(matrix, rows, config_.head_dim);
    row_buffer_ = layout.allocate(*backend_);
    hidden = backend_->make_input(rows, config_.hidden_size);
    attention = backend_->make_input(rows, heads_width);
    ffn = backend_->make_input(rows, config_.intermediate_size);
    rows_ = rows;
  }
  if (logits_rows > logits_rows_) {
    logits_buffer_.reset();
    logits_rows_ = 0;
    Layout layout;
    layout.add(selected_x, logits_rows, config_.hidden_size);
    for (Matrix& matrix : selected_angles) {
      layout.add(matrix, logits_rows, config_.head_dim);
    }
    layout.add(logits, logits_rows, config_.vocab_size);
    logits_buffer_ = layout.allocate(*backend_);
    logits_rows_ = logits_rows;
  }
  bytes_ = 0;
  if (row_buffer_) {
    bytes_ += row_buffer_->bytes() + hidden->bytes() + attention->bytes() +
              ffn->bytes();
  }
  if (logits_buffer_) bytes_ += logits_buffer_->bytes();
}

int Workspace::fit_lanes(int lanes, int64_t rows) {
  fit(rows, 0);
  for (int lane = 1; lane < lanes; ++lane) {
    const auto index = static_cast<size_t>(lane - 1);
    if (index == other_lanes_.size()) {
      other_lanes_.push_back(std::make_unique<Workspace>(*backend_, config_));
    }
    try {
      other_lanes_[index]->fit(rows, 0);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kOutOfMemory) throw;
      other_lanes_.resize(index);
      return lane;
    }
  }
  return lanes;
}

Workspace& Workspace::of_lane(int lane) {
  return lane == 0 ? *this : *other_lanes_[static_cast<size_t>(lane - 1)];
}

int64_t Workspace::bytes() const {
  int64_t bytes = bytes_;
  for (const auto& lane : other_lanes_) bytes += lane->bytes();
  return bytes;
}

KvCacheShape cache_shape(const ModelConfig& config) {
  KvCacheShape shape;
  shape.kv_heads = static_cast<int>(config.num_key_value_heads);
  shape.head_dim = static_cast<int>(config.head_dim);
  for (const LayerConfig& layer : config.layers) {
    CacheKindShape& kind = shape.kinds[static_cast<size_t>(cache_kind(layer))];
    ++kind.layers;
    kind.window = std::max(kind.window, layer.sliding_window);
  }
  return shape;
}

}  // namespace carat
