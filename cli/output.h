// Standard output, with its errors noticed, and JSON on it.
#ifndef CARAT_CLI_OUTPUT_H_
#define CARAT_CLI_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace carat::cli {

/// Standard output is closed or full.
class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Writes `text` and flushes. Throws: OutputError.
void write_stdout(std::string_view text);

/// One JSON value and a newline; strings that are not UTF-8 get U+FFFD where
/// they break. Throws: OutputError.
void write_json(const nlohmann::ordered_json& value);

/// May control sequences go to standard error? It is a terminal that is not
/// dumb.
bool stderr_is_terminal();

/// Like stderr_is_terminal, and NO_COLOR is not set (https://no-color.org).
bool stderr_has_colours();

/// A remark on standard error, dimmed where colours are welcome.
void write_note(std::string_view line);

}  // namespace carat::cli

#endif  // CARAT_CLI_OUTPUT_H_
