// The tokenizer of a model folder.
#include <string>
#include <system_error>

#include "carat/error.h"
#include "text/tokenizer_loader.h"

namespace carat {
namespace {

/// Stands in where a folder has no tokenizer: its model runs on ids alone.
class AbsentTokenizer : public Tokenizer {
 public:
  AbsentTokenizer(std::string folder, std::span<const int32_t> eos,
                  int64_t vocab_size)
      : folder_(std::move(folder)),
        eos_(eos.begin(), eos.end()),
        vocab_size_(static_cast<int32_t>(vocab_size)) {}

  std::vector<int32_t> encode(std::string_view,
                              const EncodeOptions&) const override {
    throw Error(ErrorCode::kNotFound,
                folder_ +
                    ": has neither tokenizer.json nor tokenizer.model; "
                    "give token ids");
  }
  std::string decode(std::span<const int32_t> ids, bool) const override {
    for (const int32_t id : ids) check(id);
    return {};
  }
  std::string_view piece(int32_t id) const override {
    check(id);
    return {};
  }
  std::string bytes(int32_t id) const override {
    check(id);
    return {};
  }
  bool is_byte(int32_t id) const override {
    check(id);
    return false;
  }
  bool is_special(int32_t id) const override {
    check(id);
    return false;
  }
  int32_t vocab_size() const override { return vocab_size_; }
  std::optional<int32_t> bos() const override { return std::nullopt; }
  std::span<const int32_t> eos() const override { return eos_; }

 private:
  void check(int32_t id) const {
    if (id >= 0 && id < vocab_size_) return;
    throw Error(ErrorCode::kInvalidArgument, "token " + std::to_string(id) +
                                                 " in a vocabulary of " +
                                                 std::to_string(vocab_size_));
  }

  std::string folder_;
  std::vector<int32_t> eos_;
  int32_t vocab_size_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_folder_tokenizer(
    const std::filesystem::path& folder, std::span<const int32_t> eos,
    int64_t vocab_size) {
  const std::filesystem::path path = folder / "tokenizer.json";
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    return load_json_tokenizer(path, eos);
  }
  const std::filesystem::path model = folder / "tokenizer.model";
  if (std::filesystem::exists(model, ignored)) {
    return load_sentencepiece_tokenizer(model, eos);
  }
  return make_absent_tokenizer(folder.string(), eos, vocab_size);
}

std::unique_ptr<Tokenizer> make_absent_tokenizer(const std::string& name,
                                                 std::span<const int32_t> eos,
                                                 int64_t vocab_size) {
  return std::make_unique<AbsentTokenizer>(name, eos, vocab_size);
}

}  // namespace carat
