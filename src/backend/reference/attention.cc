#include "backend/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/reference/dot.h"

namespace carat::reference {

void attend(const float* q, int64_t position, int kv_head,
            const BlockTable& table, const ReferenceKv& storage, int layer,
            const AttentionShape& shape, std::vector<float>& scores,
            float* out) {
  const int64_t head_dim = shape.head_dim;
  const bool windowed = shape.window > 0 && position >= shape.window;
  const int64_t first = windowed ? position - shape.window + 1 : 0;
  const int64_t count = position - first + 1;
  const auto entry = [&](int64_t at, KvPart part) {
    const int32_t block = table.ids[at / kBlockTokens - table.first_block];
    return storage.at(block, layer, part, kv_head, at % kBlockTokens);
  };

  scores.resize(count);
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; ++i) {
    float score =
        dot(q, entry(first + i, KvPart::kKey), head_dim) * shape.scale;
    if (shape.softcap > 0) {
      score = shape.softcap * std::tanh(score / shape.softcap);
    }
    scores[i] = score;
    largest = std::max(largest, score);
  }
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = std::exp(scores[i] - largest);
    sum += scores[i];
  }
  std::fill(out, out + head_dim, 0.0f);
  for (int64_t i = 0; i < count; ++i) {
    const float weight = scores[i] / sum;
    const float* value = entry(first + i, KvPart::kValue);
    for (int64_t d = 0; d < head_dim; ++d) out[d] += weight * value[d];
  }
}

}  // namespace carat::reference
