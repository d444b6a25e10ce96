// A checkpoint -> an MLX folder.
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "convert/json_text.h"
#include "convert/outputs.h"
#include "convert/tensor_stream.h"
#include "convert/vocabulary_arrays.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/pending_output.h"
#include "formats/safetensors_writer.h"
#include "model/family.h"
#include "model/mlx_config.h"
#include "quant/decoder.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// What a folder may have beside config.json and the weights.
constexpr std::array<std::string_view, 10> kCompanions = {
    "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model",    "special_tokens_map.json",
    "added_tokens.json",  "chat_template.jinja",
    "chat_template.json", "generation_config.json",
    "vocab.json",         "merges.txt",
};

class MlxOutput {
 public:
  explicit MlxOutput(const Conversion& conversion)
      : conversion_(conversion),
        checkpoint_(conversion.checkpoint),
        config_(checkpoint_.config()),
        folder_(conversion.to, conversion.options.replace),
        weights_(folder_.pending() / "model.safetensors", "mlx") {}

  void write() {
    const bool tied = checkpoint_.find("lm_head") == nullptr;
    const bool from_folder = fs::is_directory(checkpoint_.path());
    Json config =
        mlx_config_json(config_, bits(), kMlxGroup, tied,
                        from_folder ? source_config() : nlohmann::json());
    if (from_folder) {
      copy_companions();
    } else {
      write_companions(config);
    }
    const auto tokenizer = checkpoint_.load_tokenizer();
    const auto eos = tokenizer->eos();
    if (!eos.empty()) {
      config["eos_token_id"] = std::vector<int32_t>(eos.begin(), eos.end());
    }
    write_text("config.json", json_text(config, 2) + "\n");
    write_weights();
    folder_.commit();
  }

 private:
  struct Output {
    std::string role;
    const RawTensor* tensor;
    bool is_norm;
  };

  int bits() const {
    return conversion_.type.encoding == Encoding::kMlx4 ? 4 : 8;
  }

  nlohmann::json source_config() const {
    const fs::path path = checkpoint_.path() / "config.json";
    const MappedFile file(path);
    return parse_json_object(file.bytes(), path.string());
  }

  void write_text(const char* name, const std::string& text) const {
    PendingFile file(folder_.pending() / name);
    file.open();
    file.write(std::as_bytes(std::span(text.data(), text.size())));
    file.commit();
  }

  void copy_companions() const {
    for (const std::string_view name : kCompanions) {
      std::error_code error;
      const fs::path from = checkpoint_.path() / name;
      if (!fs::exists(from, error)) continue;
      fs::copy_file(from, folder_.pending() / name, error);
      if (!error) continue;
      throw Error(ErrorCode::kInvalidArgument,
                  from.string() + ": cannot be copied: " + error.message());
    }
  }

  void write_companions(Json& config) const {
    const GgufFile file(checkpoint_.path());
    if (file.find_string("tokenizer.ggml.model") == "none") return;
    const VocabularyArrays vocabulary = read_gguf_vocabulary(file);
    write_text("tokenizer.json", vocabulary_json(vocabulary));
    const auto token = [&](int64_t id) {
      return vocabulary.tokens[static_cast<size_t>(id)];
    };
    const auto tokenizer = checkpoint_.load_tokenizer();
    Json about = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                  {"clean_up_tokenization_spaces", false},
                  {"model_max_length", config_.max_position_embeddings}};
    Json generation = {{"eos_token_id", tokenizer->eos()}};
    const auto name = [&](const char* key, std::optional<int64_t> id) {
      if (!id) return;
      about[std::string(key) + "_token"] = token(*id);
      if (std::string_view(key) == "unk") return;
      config[std::string(key) + "_token_id"] = *id;
      generation[std::string(key) + "_token_id"] = *id;
    };
    name("bos", vocabulary.bos);
    name("unk", vocabulary.unknown);
    name("pad", vocabulary.padding);
    if (!tokenizer->eos().empty())
      about["eos_token"] = token(tokenizer->eos()[0]);
    const std::string text = checkpoint_.chat_template();
    if (!text.empty()) about["chat_template"] = text;
    write_text("tokenizer_config.json", json_text(about, 2) + "\n");
    write_text("generation_config.json", json_text(generation, 2) + "\n");
  }

  Encoding encoding_of(const Output& output) const {
    if (output.is_norm) return Encoding::kBF16;
    return plan_encoding(conversion_.type, output.role,
                         std::ssize(config_.layers), output.tensor->cols(),
                         checkpoint_.find("lm_head") == nullptr);
  }

  static std::string name_of(const Output& output) {
    return output.role == "lm_head" ? output.role : "model." + output.role;
  }

  void add(const Output& output) {
    const std::string name = name_of(output);
    if (!is_affine(encoding_of(output))) {
      weights_.add_tensor(name + ".weight", "BF16", output.tensor->shape);
      return;
    }
    const int64_t rows = output.tensor->rows();
    const int64_t cols = output.tensor->cols();
    const int64_t words[] = {rows, cols * bits() / 32};
    const int64_t groups[] = {rows, cols / kMlxGroup};
    weights_.add_tensor(name + ".weight", "U32", words);
    weights_.add_tensor(name + ".scales", "BF16", groups);
    weights_.add_tensor(name + ".biases", "BF16", groups);
  }

  void write_weights() {
    std::vector<Output> outputs;
    const auto list = [&](std::string role, bool is_norm) {
      const RawTensor* tensor = checkpoint_.find(role);
      if (tensor == nullptr) return;
      outputs.push_back({std::move(role), tensor, is_norm});
    };
    const Family& family = *find_family(config_.model_type);
    list("embed_tokens", false);
    list("lm_head", false);
    list("norm", true);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      for (const LayerTensor& tensor : family.layer_tensors) {
        list("layers." + std::to_string(i) + "." + std::string(tensor.role),
             tensor.is_norm);
      }
    }
    for (const Output& output : outputs) add(output);
    TensorStream stream(checkpoint_, conversion_.pool,
                        conversion_.options.on_progress);
    const auto write = [&](std::span<const std::byte> bytes) {
      weights_.write(bytes);
    };
    for (const Output& output : outputs) {
      if (output.is_norm) {
        write_norm(*output.tensor, family.hf_norm_addend, stream);
        stream.finish(*output.tensor);
        continue;
      }
      const EncodedRows rest =
          stream.copy(*output.tensor, encoding_of(output), 0, write);
      weights_.write(rest.scales);
      weights_.write(rest.biases);
    }
    weights_.finish();
  }

  // Folders keep norms less `addend`; those of a folder already are.
  void write_norm(RawTensor tensor, float addend, const TensorStream& stream) {
    tensor.addend -= addend;
    const std::vector<float> numbers = read_all_f32(tensor);
    std::vector<float> rounded;
    std::vector<uint16_t> stored;
    for (const float number : numbers) {
      stored.push_back(f32_to_bf16(number));
      rounded.push_back(bf16_to_f32(stored.back()));
    }
    stream.check_finite(tensor, numbers, rounded);
    weights_.write(std::as_bytes(std::span(stored)));
  }

  const Conversion& conversion_;
  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  PendingFolder folder_;
  SafetensorsWriter weights_;
};

}  // namespace

void write_mlx_output(const Conversion& conversion) {
  MlxOutput(conversion).write();
}

}  // namespace carat
