#include "cli/help_format.h"

#include <sstream>

#include "fmt/format.h"

namespace carat::cli {
namespace {

constexpr size_t kColumns = 80;
constexpr size_t kNameColumns = 28;

}  // namespace

HelpFormat::HelpFormat() { column_width(kNameColumns); }

std::string HelpFormat::make_option(const CLI::Option* option,
                                    bool is_positional) const {
  const std::string name =
      "  " + make_option_name(option, is_positional) + make_option_opts(option);
  std::string gap = " ";
  if (name.size() >= kNameColumns) {
    gap = "\n" + std::string(kNameColumns, ' ');
  }
  return fmt::format(
      "{:<{}}{}{}\n", name, kNameColumns - 1, gap,
      folded(make_option_desc(option), kColumns - kNameColumns, kNameColumns));
}

std::string folded(const std::string& text, size_t width, size_t indent) {
  std::istringstream words(text);
  std::string result;
  size_t column = 0;
  for (std::string word; words >> word; column += word.size()) {
    if (column > 0 && column + 1 + word.size() > width) {
      result += "\n" + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      result += ' ';
      ++column;
    }
    result += word;
  }
  return result;
}

}  // namespace carat::cli
