// Typed look-ups of an architecture's keys in a GGUF file.
#ifndef CARAT_MODEL_GGUF_KEYS_H_
#define CARAT_MODEL_GGUF_KEYS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "carat/error.h"
#include "formats/gguf.h"

namespace carat {

/// Keys are named without the architecture: "block_count" is
/// "gemma3.block_count". Messages name the file. `file` must outlive it.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  const GgufFile& file() const { return file_; }
  std::string key(std::string_view suffix) const {
    return architecture_ + "." + std::string(suffix);
  }
  std::optional<int64_t> find_int(std::string_view suffix) const {
    return file_.find_int(key(suffix));
  }
  std::optional<double> find_float(std::string_view suffix) const {
    return file_.find_float(key(suffix));
  }
  std::optional<std::string_view> find_string(std::string_view suffix) const {
    return file_.find_string(key(suffix));
  }
  int64_t require_int(std::string_view suffix) const {
    const auto value = find_int(suffix);
    if (!value) fail("no key " + key(suffix));
    return *value;
  }
  double require_float(std::string_view suffix) const {
    const auto value = find_float(suffix);
    if (!value) fail("no key " + key(suffix));
    return *value;
  }
  /// Throws: Error{kCorrupt} unless it is finite and above 0.
  double positive(std::string_view suffix, double fallback) const;
  /// What positions are divided by, from rope.scaling.*.
  /// Throws: Error{kUnsupported} for a scaling that is not linear.
  double rope_factor() const;

  [[noreturn]] void fail(const std::string& problem,
                         ErrorCode code = ErrorCode::kCorrupt) const {
    throw Error(code, file_.path().string() + ": " + problem);
  }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

}  // namespace carat

#endif  // CARAT_MODEL_GGUF_KEYS_H_
