// How --help looks.
#ifndef CARAT_CLI_HELP_FORMAT_H_
#define CARAT_CLI_HELP_FORMAT_H_

#include <CLI/CLI.hpp>
#include <string>

namespace carat::cli {

/// CLI11's layout with descriptions folded to fit 80 columns.
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat();
  std::string make_option(const CLI::Option* option,
                          bool is_positional) const override;
};

/// `text` in lines of at most `width` characters, broken at spaces, all but the
/// first behind `indent` spaces.
std::string folded(const std::string& text, size_t width, size_t indent);

}  // namespace carat::cli

#endif  // CARAT_CLI_HELP_FORMAT_H_
