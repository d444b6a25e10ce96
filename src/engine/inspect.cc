// A model file's description and memory plan, without its weights.
#include <system_error>

#include "backend/registry.h"
#include "carat/engine.h"
#include "engine/engine_impl.h"
#include "engine/memory_plan.h"
#include "model/registry.h"
#include "text/tokenizer_loader.h"

namespace carat {

ModelInfo inspect_model(const std::filesystem::path& path,
                        int64_t context_tokens, int64_t chunk_tokens) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  check_model(*checkpoint);
  load_checked_tokenizer(*checkpoint);
  ModelInfo info;
  info.format = checkpoint->format();
  info.config = checkpoint->config();
  for (const RawTensor& tensor : checkpoint->tensors()) {
    info.parameters += tensor.rows() * tensor.cols();
    info.tensors.push_back({tensor.name,
                            std::string(encoding_info(tensor.encoding).name),
                            tensor.shape, tensor.bytes()});
  }
  info.file_bytes = checkpoint->file_bytes();
  const auto optional = [](int64_t value) {
    return value == 0 ? std::nullopt : std::optional<int64_t>(value);
  };
  const std::unique_ptr<Backend> backend =
      make_backend({.name = "cpu", .threads = 1});
  info.plan = plan_memory(
      *checkpoint, *backend,
      choose_context_tokens(optional(context_tokens), info.config),
      choose_chunk_tokens(optional(chunk_tokens),
                          backend->measured_chunk_tokens(), info.config),
      nullptr);
  return info;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (path.extension() == ".json") return load_json_tokenizer(path);
  if (path.extension() == ".model") return load_sentencepiece_tokenizer(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return open_checkpoint(path)->load_tokenizer();
  }
  return load_gguf_tokenizer(GgufFile(path));
}

}  // namespace carat
