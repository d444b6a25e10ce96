// Any bytes are either a safetensors file whose tensors can be read, or an
// Error.
//
//   cmake --preset fuzz && cmake --build --preset fuzz
//   mkdir -p corpus && build/fuzz/safetensors_fuzz -max_len=65536 corpus SEEDS
//
// SEEDS is a folder of small files, such as the broken ones of the golden data
// (malformed-inputs/hf/*/model.safetensors).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "carat/error.h"
#include "formats/safetensors.h"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const carat::SafetensorsShard file(bytes, "input");
    size_t total = 0;
    unsigned ends = 0;
    for (const carat::SafetensorsTensor& tensor : file.tensors()) {
      check(file.find(tensor.name) == &tensor);
      total += tensor.data.size();
      // Under AddressSanitizer both ends must be in the file.
      if (!tensor.data.empty()) {
        ends += std::to_integer<unsigned>(tensor.data.front());
        ends += std::to_integer<unsigned>(tensor.data.back());
      }
    }
    check(total <= size - sizeof(uint64_t));
    check(ends <= 510 * file.tensors().size());
  } catch (const carat::Error&) {
  }
  return 0;
}
