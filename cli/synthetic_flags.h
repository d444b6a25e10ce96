// Flags that describe a model with random weights, and the file they become.
#ifndef CARAT_CLI_SYNTHETIC_FLAGS_H_
#define CARAT_CLI_SYNTHETIC_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

namespace carat::cli {

struct SyntheticFlags {
  std::string shape;
  std::string encoding = "q4_0";
  std::string vocabulary_from;
  int64_t seed = 1;
};

/// --shape and --encoding.
void add_synthetic_flags(CLI::App& app, SyntheticFlags& flags);

/// Writes the model, with a progress bar; Ctrl-C cancels it.
/// Throws: as write_synthetic_model.
void write_synthetic(const SyntheticFlags& flags,
                     const std::filesystem::path& path);

/// A model written to the system's folder for temporary files, and removed with
/// this object.
class TemporaryModel {
 public:
  explicit TemporaryModel(const SyntheticFlags& flags);
  ~TemporaryModel();
  TemporaryModel(const TemporaryModel&) = delete;
  TemporaryModel& operator=(const TemporaryModel&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace carat::cli

#endif  // CARAT_CLI_SYNTHETIC_FLAGS_H_
