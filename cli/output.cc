#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fmt/format.h"

namespace carat::cli {

void write_stdout(std::string_view text) {
  errno = 0;
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
      std::fflush(stdout) == 0;
  if (!written) {
    throw OutputError(fmt::format("cannot write to standard output: {}",
                                  std::strerror(errno)));
  }
}

void write_json(const nlohmann::ordered_json& value) {
  using Handler = nlohmann::ordered_json::error_handler_t;
  write_stdout(value.dump(-1, ' ', false, Handler::replace) + "\n");
}

bool stderr_is_terminal() {
  static const bool is_terminal = [] {
    const char* term = std::getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && term != nullptr &&
           std::string_view(term) != "dumb";
  }();
  return is_terminal;
}

bool stderr_has_colours() {
  const char* no_color = std::getenv("NO_COLOR");
  return stderr_is_terminal() && (no_color == nullptr || *no_color == '\0');
}

void write_note(std::string_view line) {
  if (stderr_has_colours()) {
    fmt::print(stderr, "\x1b[2m{}\x1b[0m\n", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

}  // namespace carat::cli
