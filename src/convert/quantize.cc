#include "carat/quantize.h"

#include <system_error>

#include "carat/error.h"
#include "convert/outputs.h"
#include "formats/pending_output.h"
#include "model/registry.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

/// Absolute, without links; what is not there yet keeps its name.
fs::path resolve(const fs::path& path) {
  std::error_code ignored;
  // weakly_canonical leaves relative what does not exist at all.
  const fs::path whole = fs::weakly_canonical(fs::absolute(path), ignored);
  return whole.has_filename() ? whole : whole.parent_path();
}

/// Whether `path` is `folder`, or in it at any depth.
bool is_within(fs::path path, const fs::path& folder) {
  for (; path != folder; path = path.parent_path()) {
    if (path == path.parent_path()) return false;
  }
  return true;
}

/// What is written, or replaced, must not be what is read.
void check_target(const fs::path& from, const fs::path& to) {
  const fs::path source = resolve(from);
  const fs::path named = to.has_filename() ? to : to.parent_path();
  // Where a link stands it is the link that is replaced.
  const fs::path target =
      resolve(fs::absolute(named).parent_path()) / named.filename();
  for (const fs::path& path : {target, pending_path(target)}) {
    for (const fs::path& written : {path, resolve(path)}) {
      std::error_code ignored;
      const bool is_source = fs::equivalent(from, written, ignored);
      if (is_source || is_within(written, source)) {
        throw Error(ErrorCode::kInvalidArgument,
                    written.string() + ": is the model that is read, or in it");
      }
      if (is_within(source, written)) {
        throw Error(ErrorCode::kInvalidArgument,
                    written.string() + ": holds the model that is read");
      }
    }
  }
}

}  // namespace

void quantize_model(const fs::path& from, const fs::path& to,
                    const QuantizeOptions& options) {
  const QuantizationType& type = find_quantization(options.type);
  check_target(from, to);
  std::error_code ignored;
  const bool is_file = type.gguf_file_type != 0;
  if (is_file && !options.replace &&
      fs::exists(fs::symlink_status(to, ignored))) {
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
