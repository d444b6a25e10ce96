// SHA-256, from libcrypto.
#ifndef CARAT_CLI_SHA256_H_
#define CARAT_CLI_SHA256_H_

#include <cstddef>
#include <span>
#include <string>

namespace carat::cli {

/// 64 lower-case hex digits. Throws: std::runtime_error if libcrypto fails.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace carat::cli

#endif  // CARAT_CLI_SHA256_H_
