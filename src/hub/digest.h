// The hashes that blobs are named by.
#ifndef CARAT_HUB_DIGEST_H_
#define CARAT_HUB_DIGEST_H_

#include <cstdint>
#include <functional>
#include <string>

namespace carat {

/// The name that a file of the hub's has as a blob, in lower-case hex:
/// SHA-256 of its bytes if `large`, else git's SHA-1 of "blob <size>", a zero
/// byte and its bytes. Reads `bytes` bytes of the open file from its start;
/// calls `poll` now and then.
/// Throws: Error{kCorrupt} if the file is shorter; std::runtime_error if
/// libcrypto fails.
std::string blob_hash(int file, int64_t bytes, bool large,
                      const std::function<void()>& poll);

}  // namespace carat

#endif  // CARAT_HUB_DIGEST_H_
