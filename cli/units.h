// Numbers as people read them.
#ifndef CARAT_CLI_UNITS_H_
#define CARAT_CLI_UNITS_H_

#include <cstdint>
#include <string>

namespace carat::cli {

/// "512 B", "24.0 KiB", "241.4 MiB".
std::string human_bytes(int64_t bytes);

/// "262,144".
std::string grouped(int64_t value);

/// "3.2 ms", "1253 ms", "12.5 s": three digits or so.
std::string human_ms(double ms);

/// "1 token", "577 tokens".
std::string counted_tokens(int64_t count);

}  // namespace carat::cli

#endif  // CARAT_CLI_UNITS_H_
