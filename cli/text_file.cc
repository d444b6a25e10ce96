#include "cli/text_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "fmt/format.h"

namespace carat::cli {

void write_text_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) {
    throw std::runtime_error(
        fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  }
}

}  // namespace carat::cli
