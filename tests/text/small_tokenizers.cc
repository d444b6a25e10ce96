#include "tests/text/small_tokenizers.h"

#include <span>

namespace carat {

std::vector<GgufToken> base_tokens() {
  std::vector<GgufToken> tokens = {
      {"<pad>", 0, 3}, {"<eos>", 0, 3}, {"<bos>", 0, 3}, {"<unk>", 0, 3}};
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(
        {std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">", 0,
         6});
  }
  return tokens;
}

GgufWriter gguf_vocabulary(const std::vector<GgufToken>& tokens) {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (const auto& token : tokens) {
    pieces.push_back(token.piece);
    scores.push_back(token.score);
    types.push_back(token.type);
  }
  GgufWriter writer;
  writer.add("tokenizer.ggml.model", "llama")
      .add_array("tokenizer.ggml.tokens", pieces)
      .add_array("tokenizer.ggml.scores", scores)
      .add_array("tokenizer.ggml.token_type", types);
  return writer;
}

std::unique_ptr<Tokenizer> load(const GgufWriter& writer) {
  const std::vector<std::byte> bytes = writer.bytes();
  return load_gguf_tokenizer(GgufFile(bytes, "some.gguf"));
}

std::unique_ptr<Tokenizer> gguf_tokenizer(
    const std::vector<GgufToken>& tokens) {
  return load(gguf_vocabulary(tokens)
                  .add("tokenizer.ggml.bos_token_id", uint32_t{2})
                  .add("tokenizer.ggml.eos_token_id", uint32_t{1})
                  .add("tokenizer.ggml.unknown_token_id", uint32_t{3})
                  .add("tokenizer.ggml.add_space_prefix", false));
}

nlohmann::json json_document(const std::vector<std::string>& pieces,
                             const std::vector<MergePair>& merges) {
  nlohmann::json vocab = nlohmann::json::object();
  for (const auto& token : base_tokens()) vocab[token.piece] = vocab.size();
  for (const auto& piece : pieces) vocab[piece] = vocab.size();
  nlohmann::json pairs = nlohmann::json::array();
  for (const auto& merge : merges) {
    pairs.push_back(nlohmann::json::array({merge.left, merge.right}));
  }
  nlohmann::json added = nlohmann::json::array();
  for (const char* name : {"<pad>", "<eos>", "<bos>", "<unk>"}) {
    added.push_back(
        {{"id", vocab[name]}, {"content", name}, {"special", true}});
  }
  const auto replace = [](const std::string& from, const std::string& to) {
    return nlohmann::json{
        {"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", replace(" ", kMark)},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<bos>"}}}},
              {{"Sequence", {{"id", "A"}}}}}},
            {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {2}}}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {replace(kMark, " "),
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", pairs}}}};
}

std::unique_ptr<Tokenizer> load_text(const std::string& text) {
  return load_json_tokenizer(std::as_bytes(std::span(text)), "some.json");
}

}  // namespace carat
