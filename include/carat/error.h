// The one exception type that crosses carat's public boundary.
#ifndef CARAT_ERROR_H_
#define CARAT_ERROR_H_

#include <stdexcept>
#include <string>
#include <string_view>

namespace carat {

/// What went wrong, for programs; the message says it for people.
enum class ErrorCode {
  kNotFound,         ///< a file, tensor or name that is not there
  kCorrupt,          ///< bytes that break their format's rules
  kUnsupported,      ///< well formed, but nothing here handles it
  kInvalidArgument,  ///< a caller's value is out of range
  kOutOfMemory,      ///< an allocation failed or would not fit
  kDevice,           ///< the compute device failed
  kCancelled,        ///< the caller asked to stop
};

/// The code's name in messages and JSON: "not_found", "corrupt", ...
std::string_view error_code_name(ErrorCode code);

/// Thrown by every carat function that can fail. The message names the
/// subject, what was found and what was expected. Immutable; thread-safe.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message)
      : std::runtime_error(message), code_(code) {}

  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace carat

#endif  // CARAT_ERROR_H_
