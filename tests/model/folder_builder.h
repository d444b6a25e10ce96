// Model folders in memory, to be changed and written out.
#ifndef CARAT_TESTS_MODEL_FOLDER_BUILDER_H_
#define CARAT_TESTS_MODEL_FOLDER_BUILDER_H_

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "formats/safetensors_folder.h"
#include "formats/safetensors_writer.h"
#include "model/shapes.h"
#include "model/synthetic_folder.h"

namespace carat {

/// The 4B's structure in miniature: grouped heads, a window, scaled RoPE.
inline ModelConfig tiny_folder_config() {
  ModelConfig config = model_shape("gemma3-4b");
  config.name = "tiny";
  config.vocab_size = 300;
  config.hidden_size = 128;
  config.intermediate_size = 192;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  config.max_position_embeddings = 256;
  config.query_pre_attn_scalar = 24;
  config.layers.resize(7);
  for (LayerConfig& layer : config.layers) {
    if (layer.sliding_window > 0) layer.sliding_window = 16;
  }
  return config;
}

struct FolderBuilder {
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> data;
  };

  /// Everything that the folder holds.
  explicit FolderBuilder(const std::filesystem::path& folder) {
    std::ifstream file(folder / "config.json");
    config = nlohmann::json::parse(file);
    const SafetensorsFolder files(folder);
    for (const SafetensorsTensor* tensor : files.tensors()) {
      tensors.push_back({tensor->name,
                         tensor->dtype,
                         tensor->shape,
                         {tensor->data.begin(), tensor->data.end()}});
    }
  }

  Tensor& at(const std::string& name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error("no tensor " + name);
  }
  void erase(const std::string& name) {
    std::erase_if(tensors,
                  [&](const Tensor& tensor) { return tensor.name == name; });
  }
  void rename_all(const std::string& from, const std::string& to) {
    for (Tensor& tensor : tensors) {
      if (tensor.name.starts_with(from)) {
        tensor.name = to + tensor.name.substr(from.size());
      }
    }
  }
  /// Puts the config under `text_config`, as multimodal models have it.
  void nest_config() {
    nlohmann::json text = config;
    config = {{"model_type", "gemma3"}, {"vision_config", {{"x", 1}}}};
    for (const char* key : {"quantization", "quantization_config"}) {
      if (!text.contains(key)) continue;
      config[key] = text[key];
      text.erase(key);
    }
    config["text_config"] = text;
  }

  /// Into `shards` files, by turns, whose metadata has this format.
  void write(const std::filesystem::path& folder, size_t shards = 1,
             const char* format = "mlx") const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << config.dump(2);
    nlohmann::json map = nlohmann::json::object();
    for (size_t shard = 0; shard < shards; ++shard) {
      const std::string name =
          shards == 1 ? "model.safetensors"
                      : "model-" + std::to_string(shard) + ".safetensors";
      SafetensorsWriter writer(folder / name, format);
      for (size_t i = shard; i < tensors.size(); i += shards) {
        writer.add_tensor(tensors[i].name, tensors[i].dtype, tensors[i].shape);
        map[tensors[i].name] = name;
      }
      for (size_t i = shard; i < tensors.size(); i += shards) {
        writer.write(tensors[i].data);
      }
      writer.finish();
    }
    if (shards == 1) return;
    std::ofstream(folder / "model.safetensors.index.json")
        << nlohmann::json({{"weight_map", map}}).dump(2);
  }

  nlohmann::json config;
  std::vector<Tensor> tensors;
};

}  // namespace carat

#endif  // CARAT_TESTS_MODEL_FOLDER_BUILDER_H_
