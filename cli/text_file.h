// Writes a whole text file.
#ifndef CARAT_CLI_TEXT_FILE_H_
#define CARAT_CLI_TEXT_FILE_H_

#include <string>
#include <string_view>

namespace carat::cli {

/// Replaces the file at `path` by `text`.
/// Throws: std::runtime_error naming the file.
void write_text_file(const std::string& path, std::string_view text);

}  // namespace carat::cli

#endif  // CARAT_CLI_TEXT_FILE_H_
