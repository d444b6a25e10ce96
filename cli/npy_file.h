// Writes NumPy's .npy, little-endian f32, row by row.
#ifndef CARAT_CLI_NPY_FILE_H_
#define CARAT_CLI_NPY_FILE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace carat::cli {

/// Rows go to a temporary file beside `path`, which commit() renames; without
/// it nothing is left behind. A `path` that is there but no regular file
/// (/dev/null) is written directly.
/// Source: numpy.lib.format, version 1.0.
class NpyFile {
 public:
  /// Throws: std::runtime_error naming the file, like append and commit.
  NpyFile(std::filesystem::path path, const std::vector<int64_t>& shape);
  ~NpyFile();
  NpyFile(const NpyFile&) = delete;
  NpyFile& operator=(const NpyFile&) = delete;

  /// The next values in row-major order.
  void append(std::span<const float> values);

  /// Ends the file; all values of `shape` must have been appended.
  void commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  [[noreturn]] void fail(const char* what) const;
  void write(const void* data, size_t bytes);

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty: written directly
  std::unique_ptr<std::FILE, Close> file_;
  int64_t values_left_ = 1;
};

}  // namespace carat::cli

#endif  // CARAT_CLI_NPY_FILE_H_
