// The decoder-only transformer, once for all families: how they differ is data
// (BlockTraits, ModelConfig). The arithmetic is as in transformers'
// Gemma3ForCausalLM and LlamaForCausalLM.
#include "model/transformer.h"

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "model/batch_rows.h"

namespace carat {
namespace {

struct Layer {
  std::unique_ptr<Buffer> input_norm, feedforward_norm;  // before a branch
  // After a branch, and of heads; null: none.
  std::unique_ptr<Buffer> post_attention_norm, post_feedforward_norm;
  std::unique_ptr<Buffer> q_norm, k_norm;            // [head_dim]
  std::unique_ptr<PackedMatrix> q_proj;              // [H * Dh, D]
  std::unique_ptr<PackedMatrix> k_proj, v_proj;      // [Hk * Dh, D]
  std::unique_ptr<PackedMatrix> o_proj;              // [D, H * Dh]
  std::unique_ptr<PackedMatrix> gate_proj, up_proj;  // [F, D]
  std::unique_ptr<PackedMatrix> down_proj;           // [D, F]
  int index_in_kind = 0;  // among the layers of its cache kind
};

class Transformer : public Model {
 public:
  Transformer(const ModelConfig& config, const BlockTraits& traits,
              WeightLoader& loader)
      : Model(config), activation_(traits.activation) {
    const ModelConfig& c = config;
    const int64_t heads_width = c.num_attention_heads * c.head_dim;
    const int64_t kv_width = c.num_key_value_heads * c.head_dim;
    embedding_ = loader.matrix("embed_tokens", c.vocab_size, c.hidden_size);
    if (loader.has("lm_head")) {
      lm_head_ = loader.matrix("lm_head", c.vocab_size, c.hidden_size);
    }
    norm_ = loader.vector("norm", c.hidden_size);
    int kind_counts[kCacheKinds] = {};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      const std::string prefix = "layers." + std::to_string(i) + ".";
      const auto matrix = [&](std::string_view role, int64_t rows,
                              int64_t cols) {
        return loader.matrix(prefix + std::string(role), rows, cols);
      };
      const auto vector = [&](std::string_view role, int64_t size) {
        return loader.vector(prefix + std::string(role), size);
      };
      Layer layer;
      layer.input_norm = vector("input_layernorm", c.hidden_size);
      layer.q_proj = matrix("self_attn.q_proj", heads_width, c.hidden_size);
      layer.k_proj = matrix("self_attn.k_proj", kv_width, c.hidden_size);
      layer.v_proj = matrix("self_attn.v_proj", kv_width, c.hidden_size);
      layer.o_proj = matrix("self_attn.o_proj", c.hidden_size, heads_width);
      if (traits.has_head_norms) {
        layer.q_norm = vector("self_attn.q_norm", c.head_dim);
        layer.k_norm = vector("self_attn.k_norm", c.head_dim);
      }
      if (traits.has_branch_norms) {
        layer.post_attention_norm =
            vector("post_attention_layernorm", c.hidden_size);
        layer.post_feedforward_norm =
            vector("post_feedforward_layernorm", c.hidden_size);
      }
      layer.feedforward_norm = vector(traits.feedforward_norm, c.hidden_size);
      layer.gate_proj =
          matrix("mlp.gate_proj", c.intermediate_size, c.hidden_size);
      layer.up_proj = matrix("mlp.up_proj", c.intermediate_size, c.hidden_size);
      layer.down_proj =
          matrix("mlp.down_proj", c.hidden_size, c.intermediate_size);
      layer.index_in_kind = kind_counts[kind_index(c.layers[i])]++;
      layers_.push_back(std::move(layer));
    }
    for (const LayerConfig& layer : c.layers) {
      inverse_frequencies_[kind_index(layer)] = inverse_frequencies(layer, c);
    }
  }

  int64_t weight_bytes() const override {
    int64_t bytes = embedding_->bytes() + norm_->bytes();
    if (lm_head_) bytes += lm_head_->bytes();
    for (const Layer& layer : layers_) {
      for (const auto* matrix :
           {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj,
            &layer.gate_proj, &layer.up_proj, &layer.down_proj}) {
        bytes += (*matrix)->bytes();
      }
    }
    return bytes;
  }

  Matrix forward(std::span<const BatchSequence> batch,
                 Workspace& workspace) override {
    const BatchRows all(batch, config());
    const BatchRows selected = all.selected();
    workspace.fit(all.rows(), selected.rows());
    Backend& backend = workspace.backend();
    Pass pass{backend, workspace, all, workspace.x.first_rows(all.rows())};

    backend.embed(*embedding_, all.tokens(),
                  static_cast<float>(config().embedding_scale), pass.x);
    for (int kind = 0; kind < kCacheKinds; ++kind) {
      if (inverse_frequencies_[kind].empty()) continue;
      pass.angles[kind] = workspace.angles[kind].first_rows(all.rows());
      backend.rope_angles(all.sequences(), inverse_frequencies_[kind],
                          pass.angles[kind]);
    }
    backend.norm(pass.x, vector(layers_[0].input_norm), eps(),
                 *workspace.hidden);

    const size_t last = layers_.size() - 1;
    for (size_t i = 0; i < last; ++i) {
      project(pass, i, {.queries = true, .keys_values = true});
      finish_layer(pass, i);
    }
    // Of the last layer, positions without wanted logits need only their keys
    // and values.
    const bool all_selected = selected.rows() == all.rows();
    project(pass, last, {.queries = all_selected, .keys_values = true});
    if (selected.rows() == 0) {
      BatchRows::commit(batch);
      return {};
    }
    if (!all_selected) {
      select(pass, all, selected);
      project(pass, last, {.queries = true, .keys_values = false});
    }
    finish_layer(pass, last);
    const Matrix logits = workspace.logits.first_rows(selected.rows());
    const PackedMatrix& head = lm_head_ ? *lm_head_ : *embedding_;
    const LinearOutput output{&head, logits};
    backend.linear(*workspace.hidden, {&output, 1});
    BatchRows::commit(batch);
    return logits;
  }

 private:
  // The rows now in work; `workspace.hidden` holds their normed input.
  struct Pass {
    Backend& backend;
    Workspace& workspace;
    BatchRows rows;
    Matrix x;
    Matrix angles[kCacheKinds] = {};
  };

  static size_t kind_index(const LayerConfig& layer) {
    return static_cast<size_t>(cache_kind(layer));
  }
  // Empty where there is none.
  static Vector vector(const std::unique_ptr<Buffer>& buffer) {
    if (!buffer) return {};
    return {buffer->data(),
            buffer->bytes() / static_cast<int64_t>(sizeof(float))};
  }
  static std::vector<double> inverse_frequencies(const LayerConfig& layer,
                                                 const ModelConfig& config) {
    std::vector<double> result;
    for (int64_t i = 0; i < config.head_dim / 2; ++i) {
      const double exponent =
          -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
      result.push_back(std::pow(layer.rope_theta, exponent) /
                       layer.rope_factor);
    }
    for (size_t i = 0; i < config.rope_divisors.size(); ++i) {
      result[i] /= config.rope_divisors[i];
    }
    return result;
  }
  float eps() const { return static_cast<float>(config().rms_norm_eps); }

  KvLayer kv_layer(const Pass& pass, size_t i) const {
    const CacheKind kind = cache_kind(config().layers[i]);
    return {&pass.rows.cache().storage(kind), layers_[i].index_in_kind, kind};
  }

  struct Parts {
    bool queries;
    bool keys_values;
  };

  // Queries stay in the workspace, keys and values go to the cache.
  void project(Pass& pass, size_t i, Parts parts) {
    const Layer& layer = layers_[i];
    Workspace& w = pass.workspace;
    const int64_t rows = pass.rows.rows();
    HeadsInput heads;
    heads.norm_eps = eps();
    heads.angles = pass.angles[kind_index(config().layers[i])];
    std::vector<LinearOutput> outputs;
    if (parts.queries) {
      heads.q = w.q.first_rows(rows);
      heads.q_norm = vector(layer.q_norm);
      outputs.push_back({layer.q_proj.get(), heads.q});
    }
    if (parts.keys_values) {
      heads.k = w.k.first_rows(rows);
      heads.v = w.v.first_rows(rows);
      heads.k_norm = vector(layer.k_norm);
      outputs.push_back({layer.k_proj.get(), heads.k});
      outputs.push_back({layer.v_proj.get(), heads.v});
    }
    pass.backend.linear(*w.hidden, outputs);
    pass.backend.heads(heads, pass.rows.sequences(), kv_layer(pass, i));
  }

  // Attention over the cache, then the MLP; x is the layer's output, and
  // `hidden` the next layer's normed input (or the lm_head's).
  void finish_layer(Pass& pass, size_t i) {
    const Layer& layer = layers_[i];
    const LayerConfig& layer_config = config().layers[i];
    Backend& backend = pass.backend;
    Workspace& w = pass.workspace;
    const int64_t rows = pass.rows.rows();
    const Matrix y = w.y.first_rows(rows);

    backend.attention(w.q.first_rows(rows), pass.rows.sequences(),
                      kv_layer(pass, i), attention_shape(layer_config),
                      *w.attention);
    const LinearOutput attended{layer.o_proj.get(), y};
    backend.linear(*w.attention, {&attended, 1});
    backend.add_norm(pass.x, y, vector(layer.post_attention_norm),
                     vector(layer.feedforward_norm), eps(), w.hidden.get());

    backend.gated_linear(*w.hidden, *layer.gate_proj, *layer.up_proj,
                         activation_, *w.ffn);
    const LinearOutput down{layer.down_proj.get(), y};
    backend.linear(*w.ffn, {&down, 1});
    const bool is_last = i + 1 == layers_.size();
    const auto& next_norm = is_last ? norm_ : layers_[i + 1].input_norm;
    backend.add_norm(pass.x, y, vector(layer.post_feedforward_norm),
                     vector(next_norm), eps(), w.hidden.get());
  }

  AttentionShape attention_shape(const LayerConfig& layer) const {
    AttentionShape shape;
    shape.heads = static_cast<int>(config().num_attention_heads);
    shape.kv_heads = static_cast<int>(config().num_key_value_heads);
    shape.head_dim = static_cast<int>(config().head_dim);
    shape.scale =
        static_cast<float>(1.0 / std::sqrt(config().query_pre_attn_scalar));
    shape.softcap = static_cast<float>(config().attn_logit_softcapping);
    shape.window = layer.sliding_window;
    return shape;
  }

  // Leaves only the rows with wanted logits in work, for the last layer.
  void select(Pass& pass, const BatchRows& all, const BatchRows& selected) {
    Workspace& w = pass.workspace;
    const std::vector<int64_t> rows = all.selected_rows();
    const Matrix x = w.selected_x.first_rows(selected.rows());
    pass.backend.gather(pass.x, rows, x);
    for (int kind = 0; kind < kCacheKinds; ++kind) {
      if (pass.angles[kind].data == nullptr) continue;
      const Matrix angles = w.selected_angles[kind].first_rows(selected.rows());
      pass.backend.gather(pass.angles[kind], rows, angles);
      pass.angles[kind] = angles;
    }
    pass.rows = selected;
    pass.x = x;
    pass.backend.norm(x, vector(layers_.back().input_norm), eps(), *w.hidden);
  }

  Activation activation_;
  std::unique_ptr<PackedMatrix> embedding_;  // [V, D]
  std::unique_ptr<PackedMatrix> lm_head_;    // [V, D]; null: tied
  std::unique_ptr<Buffer> norm_;             // [D]
  std::vector<Layer> layers_;
  std::vector<double> inverse_frequencies_[kCacheKinds];
};

}  // namespace

std::unique_ptr<Model> load_transformer(const ModelConfig& config,
                                        const BlockTraits& traits,
                                        WeightLoader& loader) {
  return std::make_unique<Transformer>(config, traits, loader);
}

}  // namespace carat
