// carat inspect: what a model file holds and what running it will take.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "cli/command.h"
#include "cli/default_model.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/units.h"
#include "fmt/format.h"

namespace carat::cli {
namespace {

struct Flags {
  std::string file;
  std::optional<int64_t> context;
  std::optional<int64_t> chunk;
  bool tensors = false;
  bool json = false;
};

struct EncodingCount {
  int64_t tensors = 0;
  int64_t bytes = 0;
};

std::map<std::string, EncodingCount> count_encodings(const ModelInfo& info) {
  std::map<std::string, EncodingCount> counts;
  for (const TensorInfo& tensor : info.tensors) {
    EncodingCount& count = counts[tensor.encoding];
    ++count.tensors;
    count.bytes += tensor.file_bytes;
  }
  return counts;
}

nlohmann::ordered_json config_json(const ModelConfig& config) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerConfig& layer : config.layers) {
    layers.push_back({{"sliding_window", layer.sliding_window},
                      {"rope_theta", layer.rope_theta},
                      {"rope_factor", layer.rope_factor}});
  }
  return {{"model_type", config.model_type},
          {"name", config.name},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {"max_position_embeddings", config.max_position_embeddings},
          {"rms_norm_eps", config.rms_norm_eps},
          {"query_pre_attn_scalar", config.query_pre_attn_scalar},
          {"attn_logit_softcapping", config.attn_logit_softcapping},
          {"final_logit_softcapping", config.final_logit_softcapping},
          {"embedding_scale", config.embedding_scale},
          {"rope_divisors", config.rope_divisors},
          {"default_chunk_tokens", config.default_chunk_tokens},
          {"layers", layers}};
}

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  return {{"context_tokens", plan.context_tokens},
          {"chunk_tokens", plan.chunk_tokens},
          {"weight_bytes", plan.weight_bytes},
          {"kv_full_bytes", plan.kv_full_bytes},
          {"kv_window_bytes", plan.kv_window_bytes},
          {"workspace_bytes", plan.workspace_bytes},
          {"logits_bytes", plan.logits_bytes},
          {"full_mode_workspace_bytes", plan.full_mode_workspace_bytes},
          {"full_mode_logits_bytes", plan.full_mode_logits_bytes}};
}

nlohmann::ordered_json info_json(const ModelInfo& info, bool tensors) {
  nlohmann::ordered_json encodings = nlohmann::ordered_json::object();
  for (const auto& [name, count] : count_encodings(info)) {
    encodings[name] = {{"tensors", count.tensors}, {"bytes", count.bytes}};
  }
  nlohmann::ordered_json value = {
      {"format", info.format},         {"file_bytes", info.file_bytes},
      {"parameters", info.parameters}, {"config", config_json(info.config)},
      {"encodings", encodings},        {"plan", plan_json(info.plan)}};
  if (!tensors) return value;
  value["tensors"] = nlohmann::ordered_json::array();
  for (const TensorInfo& tensor : info.tensors) {
    value["tensors"].push_back({{"name", tensor.name},
                                {"encoding", tensor.encoding},
                                {"shape", tensor.shape},
                                {"bytes", tensor.file_bytes}});
  }
  return value;
}

std::string line(std::string_view label, std::string_view text) {
  return fmt::format("  {:<16}{}\n", label, text);
}

// One letter per kind of layer ("L L L L L G"), then what the letters mean.
std::string layer_lines(const ModelConfig& config) {
  std::vector<LayerConfig> kinds;
  std::vector<std::string> letters;
  std::string map;
  std::string legend;
  int locals = 0;
  int globals = 0;
  for (const LayerConfig& layer : config.layers) {
    size_t kind = 0;
    while (kind < kinds.size() && !(kinds[kind] == layer)) ++kind;
    if (kind == kinds.size()) {
      const bool local = layer.sliding_window > 0;
      int& seen = local ? locals : globals;
      std::string letter = local ? "L" : "G";
      if (++seen > 1) letter += fmt::format("{}", seen);
      legend += line(
          "",
          fmt::format("{}: {}, RoPE theta {:.0f}{}", letter,
                      local ? fmt::format("window of {}", layer.sliding_window)
                            : "sees everything",
                      layer.rope_theta,
                      layer.rope_factor == 1
                          ? ""
                          : fmt::format(", positions divided by {}",
                                        layer.rope_factor)));
      kinds.push_back(layer);
      letters.push_back(letter);
    }
    if (!map.empty()) map += ' ';
    map += letters[kind];
  }
  if (!config.rope_divisors.empty()) {
    const auto [least, most] = std::minmax_element(config.rope_divisors.begin(),
                                                   config.rope_divisors.end());
    legend += line("", fmt::format("RoPE frequencies divided by {:g} to {:g}",
                                   *least, *most));
  }
  return line("layers", map) + legend;
}

std::string config_lines(const ModelInfo& info) {
  const ModelConfig& config = info.config;
  std::string text = fmt::format(
      "{}\n", config.name.empty() ? config.model_type : config.name);
  text += line("file", fmt::format("{}, {}, {} parameters", info.format,
                                   human_bytes(info.file_bytes),
                                   grouped(info.parameters)));
  text +=
      line("model", fmt::format("{}, {} layers, hidden {}, feed-forward {}",
                                config.model_type, config.layers.size(),
                                config.hidden_size, config.intermediate_size));
  text += line("attention",
               fmt::format("{} heads of {}, {} key-value head{}",
                           config.num_attention_heads, config.head_dim,
                           config.num_key_value_heads,
                           config.num_key_value_heads == 1 ? "" : "s"));
  text += line("vocabulary", grouped(config.vocab_size) + " tokens");
  text +=
      line("trained for", grouped(config.max_position_embeddings) + " tokens");
  text += layer_lines(config);
  std::string_view label = "encodings";
  for (const auto& [name, count] : count_encodings(info)) {
    text += line(label, fmt::format("{:<6} {:>4} tensors  {:>10}", name,
                                    count.tensors, human_bytes(count.bytes)));
    label = "";
  }
  return text;
}

std::string plan_lines(const MemoryPlan& plan) {
  const int64_t kept =
      plan.weight_bytes + plan.kv_full_bytes + plan.kv_window_bytes;
  const int64_t chunked = plan.workspace_bytes + plan.logits_bytes;
  const int64_t full =
      plan.full_mode_workspace_bytes + plan.full_mode_logits_bytes;
  const auto row = [](std::string_view label, int64_t bytes,
                      std::string_view what) {
    return fmt::format("  {:<16}{:>10}  {}\n", label, human_bytes(bytes), what);
  };
  std::string text =
      fmt::format("memory for {} tokens of context, in chunks of {}\n",
                  grouped(plan.context_tokens), grouped(plan.chunk_tokens));
  text += row("weights", plan.weight_bytes, "as packed");
  text += row("KV, global", plan.kv_full_bytes, "at the full context");
  text += row("KV, windows", plan.kv_window_bytes, "window and chunk");
  text += row("workspace", plan.workspace_bytes, "bounded by the chunk");
  text += row("logits", plan.logits_bytes, "one row");
  text += row("in all", kept + chunked, "");
  text += row("full mode", kept + full,
              fmt::format("with {} transient for such a prompt at once",
                          human_bytes(full)));
  return text;
}

std::string tensor_lines(const ModelInfo& info) {
  std::string text = "tensors\n";
  for (const TensorInfo& tensor : info.tensors) {
    text += fmt::format("  {:<6} {:>10}  {}  [{}]\n", tensor.encoding,
                        human_bytes(tensor.file_bytes), tensor.name,
                        fmt::join(tensor.shape, ", "));
  }
  return text;
}

int run(const Flags& flags) {
  const ModelInfo info =
      inspect_model(resolve_model(flags.file), flags.context.value_or(0),
                    flags.chunk.value_or(0));
  if (flags.json) {
    write_json(info_json(info, flags.tensors));
    return kExitOk;
  }
  std::string text = config_lines(info) + plan_lines(info.plan);
  if (flags.tensors) text += tensor_lines(info);
  write_stdout(text);
  return kExitOk;
}

}  // namespace

Action add_inspect(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("file,--model", flags->file,
                 "GGUF file, or a Hugging Face or MLX folder; without it, the "
                 "default model")
      ->option_text("PATH");
  app.add_option("--context", flags->context,
                 "Tokens to plan memory for; the model's limit without it")
      ->check(whole_number(1))
      ->option_text("N");
  app.add_option("--chunk", flags->chunk,
                 "Prompt tokens per chunk; the model's own without it")
      ->check(whole_number(1))
      ->option_text("N");
  app.add_flag("--tensors", flags->tensors, "List every tensor");
  app.add_flag("--json", flags->json, "Print a JSON object, sizes in bytes");
  app.footer(
      "No weights are loaded.\n\n"
      "Examples:\n"
      "  carat inspect model.gguf\n"
      "  carat inspect gemma-3-4b-it-4bit\n"
      "  carat inspect model.gguf --context 8192 --chunk 512\n"
      "  carat inspect --tensors --json");
  return [flags] { return run(*flags); };
}

}  // namespace carat::cli
