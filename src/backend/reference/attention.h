// Causal, windowed attention of one query head over a paged cache, in f32.
#ifndef CARAT_BACKEND_REFERENCE_ATTENTION_H_
#define CARAT_BACKEND_REFERENCE_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "backend/reference/kv_storage.h"

namespace carat::reference {

/// out[0, Dh) = softmax(scale * q k^T) v over the positions that a query at
/// `position` sees: [first_visible, position]. The window masks here.
/// `scores` is scratch.
void attend(const float* q, int64_t position, int kv_head,
            const BlockTable& table, const ReferenceKv& storage, int layer,
            const AttentionShape& shape, std::vector<float>& scores,
            float* out);

}  // namespace carat::reference

#endif  // CARAT_BACKEND_REFERENCE_ATTENTION_H_
