#include "carat/quantize.h"

#include <system_error>

#include "carat/error.h"
#include "convert/outputs.h"
#include "model/registry.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

/// `to` must be neither the source nor in its folder.
void check_target(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(from, ignored);
  fs::path folder = fs::weakly_canonical(to, ignored);
  for (; !folder.empty(); folder = folder.parent_path()) {
    if (folder == source) {
      throw Error(ErrorCode::kInvalidArgument,
                  to.string() + ": is the model that is read, or in it");
    }
    if (folder == folder.parent_path()) break;
  }
}

}  // namespace

void quantize_model(const fs::path& from, const fs::path& to,
                    const QuantizeOptions& options) {
  const QuantizationType& type = find_quantization(options.type);
  check_target(from, to);
  std::error_code ignored;
  const bool is_file = type.gguf_file_type != 0;
  if (is_file && !options.replace && fs::exists(to, ignored)) {
    throw Error(ErrorCode::kInvalidArgument,
                to.string() + ": is there already");
  }
  const auto checkpoint = open_checkpoint(from);
  check_model(*checkpoint);
  ThreadPool pool(options.threads);
  const Conversion conversion = {*checkpoint, type, options, pool, to};
  if (is_file) {
    write_gguf_output(conversion);
  } else {
    write_mlx_output(conversion);
  }
}

}  // namespace carat
