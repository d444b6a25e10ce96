#include "cli/synthetic_flags.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "fmt/format.h"
#include "model/shapes.h"
#include "model/synthetic_model.h"
#include "tensor/encoding.h"

namespace carat::cli {
namespace {

// In the order of their names below; MLX's make a folder, the others a file.
std::vector<Encoding> known_encodings() {
  std::vector<Encoding> known;
  for (int i = 0; i <= static_cast<int>(Encoding::kQ6_K); ++i) {
    known.push_back(static_cast<Encoding>(i));
  }
  known.push_back(Encoding::kMlx4);
  known.push_back(Encoding::kMlx8);
  return known;
}

// As flags spell it: "q4_k".
std::string encoding_name(Encoding encoding) {
  std::string name(encoding_info(encoding).name);
  for (char& letter : name) letter = static_cast<char>(std::tolower(letter));
  return name;
}

std::vector<std::string> encoding_names() {
  std::vector<std::string> names;
  for (const Encoding encoding : known_encodings()) {
    names.push_back(encoding_name(encoding));
  }
  return names;
}

Encoding find_encoding(const std::string& name) {
  const std::vector<std::string> names = encoding_names();
  const auto found = std::ranges::find(names, name);
  return known_encodings()[static_cast<size_t>(found - names.begin())];
}

}  // namespace

void add_synthetic_flags(CLI::App& app, SyntheticFlags& flags) {
  const std::vector<std::string_view> shapes = shape_names();
  app.add_option("--shape", flags.shape,
                 fmt::format("Random weights in the shape of {}",
                             fmt::join(shapes, ", ")))
      ->check(
          CLI::IsMember(std::vector<std::string>(shapes.begin(), shapes.end())))
      ->option_text("NAME");
  app.add_option(
         "--encoding", flags.encoding,
         fmt::format("Their encoding: {}", fmt::join(encoding_names(), ", ")))
      ->check(CLI::IsMember(encoding_names()))
      ->option_text("NAME [q4_0]");
}

void write_synthetic(const SyntheticFlags& flags,
                     const std::filesystem::path& path) {
  ProgressBar bar("Writing", ProgressBar::Unit::kBytes);
  SyntheticOptions options;
  options.encoding = find_encoding(flags.encoding);
  options.seed = static_cast<uint64_t>(flags.seed);
  if (!flags.vocabulary_from.empty()) {
    options.vocabulary_from = flags.vocabulary_from;
  }
  options.on_progress = [&bar](int64_t done, int64_t total) {
    bar.update(done, total);
    return !interrupted();
  };
  write_synthetic_model(path, model_shape(flags.shape), options);
}

TemporaryModel::TemporaryModel(const SyntheticFlags& flags)
    : path_(std::filesystem::temp_directory_path() /
            fmt::format(
                "carat-{}-{}-{}{}", flags.shape, flags.encoding, getpid(),
                is_affine(find_encoding(flags.encoding)) ? "" : ".gguf")) {
  write_synthetic(flags, path_);
}

TemporaryModel::~TemporaryModel() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace carat::cli
