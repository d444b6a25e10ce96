// Names from files, made safe to print.
#ifndef CARAT_FORMATS_QUOTE_H_
#define CARAT_FORMATS_QUOTE_H_

#include <string>
#include <string_view>

namespace carat {

/// `name` in single quotes for an error message: bytes that are not printable
/// ASCII become \xNN, and a long name is cut, so that a message stays one short
/// line of valid text whatever the file holds.
std::string quote(std::string_view name);

}  // namespace carat

#endif  // CARAT_FORMATS_QUOTE_H_
