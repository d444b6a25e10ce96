// A checkpoint -> a GGUF file.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "carat/error.h"
#include "convert/outputs.h"
#include "convert/tensor_stream.h"
#include "convert/vocabulary_arrays.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "model/family.h"
#include "model/gguf_config.h"
#include "quant/decoder.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kAlignment = 32;  // what readers take for granted
constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

/// A tensor to write, by both of its names.
struct Output {
  std::string role;
  std::string name;
  const RawTensor* tensor;
  bool is_norm;
};

class GgufOutput {
 public:
  explicit GgufOutput(const Conversion& conversion)
      : conversion_(conversion),
        checkpoint_(conversion.checkpoint),
        config_(checkpoint_.config()),
        family_(*find_family(config_.model_type)),
        writer_(conversion.to, kAlignment, conversion.options.replace) {}

  void write() {
    if (fs::is_directory(checkpoint_.path())) {
      write_metadata();
    } else {
      copy_metadata();
    }
    writer_.add("general.file_type", conversion_.type.gguf_file_type);
    list_tensors();
    for (const Output& output : outputs_) {
      writer_.add_tensor(output.name, encoding_of(output),
                         output.tensor->shape);
    }
    const int64_t divisors = std::ssize(config_.rope_divisors);
    if (divisors > 0) {
      writer_.add_tensor(kRopeDivisors, Encoding::kF32, {&divisors, 1});
    }
    TensorStream stream(checkpoint_, conversion_.pool,
                        conversion_.options.on_progress);
    for (const Output& output : outputs_) write_tensor(output, stream);
    const std::vector<float> numbers(config_.rope_divisors.begin(),
                                     config_.rope_divisors.end());
    writer_.write(std::as_bytes(std::span(numbers)));
    writer_.finish();
  }

 private:
  void copy_metadata() {
    const GgufFile file(checkpoint_.path());
    for (const auto& [key, value] : file.raw_metadata()) {
      if (key == "general.file_type" || key == "general.alignment" ||
          key == "general.quantization_version" || key.starts_with("split.")) {
        continue;
      }
      writer_.add_raw(key, value);
    }
    writer_.add("general.quantization_version", uint32_t{2});
  }

  void write_metadata() {
    write_gguf_config(writer_, config_);
    const fs::path json = checkpoint_.path() / "tokenizer.json";
    const fs::path pieces = checkpoint_.path() / "tokenizer.model";
    const bool has_json = fs::exists(json);
    if (!has_json && !fs::exists(pieces)) {
      writer_.add("tokenizer.ggml.model", "none");
      return;
    }
    const auto tokenizer = checkpoint_.load_tokenizer();
    VocabularyArrays arrays =
        has_json ? read_json_vocabulary(json, config_.vocab_size)
                 : read_sentencepiece_vocabulary(pieces, config_.vocab_size);
    arrays.add_bos = tokenizer->bos().has_value();
    arrays.bos = tokenizer->bos();
    write_gguf_vocabulary(writer_, arrays, tokenizer->eos());
    const std::string text = checkpoint_.chat_template();
    if (!text.empty()) {
      writer_.add("tokenizer.chat_template", std::string_view(text));
    }
  }

  void list_tensors() {
    add("embed_tokens", "token_embd.weight", false);
    add("lm_head", "output.weight", false);
    add("norm", "output_norm.weight", true);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      const std::string number = std::to_string(i) + ".";
      for (const LayerTensor& tensor : family_.layer_tensors) {
        add("layers." + number + std::string(tensor.role),
            "blk." + number + std::string(tensor.gguf) + ".weight",
            tensor.is_norm);
      }
    }
  }
  void add(std::string role, std::string name, bool is_norm) {
    const RawTensor* tensor = checkpoint_.find(role);
    if (tensor == nullptr) return;
    outputs_.push_back({std::move(role), std::move(name), tensor, is_norm});
  }

  Encoding encoding_of(const Output& output) const {
    if (output.is_norm) return Encoding::kF32;
    return plan_encoding(conversion_.type, output.role,
                         std::ssize(config_.layers), output.tensor->cols(),
                         checkpoint_.find("lm_head") == nullptr);
  }

  void write_tensor(const Output& output, TensorStream& stream) {
    if (output.is_norm) {
      const std::vector<float> stored = read_all_f32(*output.tensor);
      std::vector<float> numbers = stored;
      const double factor = norm_factor(output);
      for (float& number : numbers) {
        number = static_cast<float>(number * factor);
      }
      stream.check_finite(*output.tensor, stored, numbers);
      writer_.write(std::as_bytes(std::span(numbers)));
      stream.finish(*output.tensor);
      return;
    }
    const bool is_rotated = output.role.ends_with(".self_attn.q_proj") ||
                            output.role.ends_with(".self_attn.k_proj");
    const int64_t head_rows =
        is_rotated && family_.gguf_rows_in_pairs ? config_.head_dim : 0;
    stream.copy(
        *output.tensor, encoding_of(output), head_rows,
        [&](std::span<const std::byte> bytes) { writer_.write(bytes); });
  }

  // GGUF does not say what scores are divided by. Where it is not what readers
  // take it for, the norm of the queries makes up for it: RoPE is linear.
  double norm_factor(const Output& output) const {
    const double expected = gguf_query_scalar(config_);
    if (config_.query_pre_attn_scalar == expected) return 1;
    if (!family_.block.has_head_norms) {
      throw Error(ErrorCode::kUnsupported,
                  "a GGUF file can't hold this model's attention scale");
    }
    if (!output.role.ends_with(".self_attn.q_norm")) return 1;
    return std::sqrt(expected / config_.query_pre_attn_scalar);
  }

  const Conversion& conversion_;
  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const Family& family_;
  GgufFileWriter writer_;
  std::vector<Output> outputs_;
};

}  // namespace

void write_gguf_output(const Conversion& conversion) {
  GgufOutput(conversion).write();
}

}  // namespace carat
