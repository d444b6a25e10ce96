// Any bytes are either a GGUF file whose tensors can be read, or an Error.
//
//   cmake --preset fuzz && cmake --build --preset fuzz
//   mkdir -p corpus && build/fuzz/gguf_fuzz -max_len=65536 corpus SEEDS
//
// SEEDS is a folder of small GGUF files, such as the broken ones of the golden
// data (malformed-inputs/gguf). New inputs are kept in corpus.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "carat/error.h"
#include "formats/gguf.h"
#include "quant/decoder.h"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

void look_up(const carat::GgufFile& file, const std::string& key) {
  const auto attempt = [](auto find) {
    try {
      find();
    } catch (const carat::Error& error) {
      check(error.code() == carat::ErrorCode::kCorrupt);
    }
  };
  attempt([&] { file.find_int(key); });
  attempt([&] { file.find_float(key); });
  attempt([&] { file.find_bool(key); });
  attempt([&] { file.find_string(key); });
  attempt([&] { file.find_strings(key); });
  attempt([&] { file.find_floats(key); });
  attempt([&] { file.find_ints(key); });
}

void read_rows(const carat::RawTensor& tensor) {
  const auto source = carat::make_weight_source(tensor);
  check(source->rows() == tensor.rows() && source->cols() == tensor.cols());
  carat::QuantizedMatrix matrix;
  std::vector<float> values(static_cast<size_t>(source->cols()));
  for (const int64_t row : {int64_t{0}, source->rows() - 1}) {
    source->read(row, 1, matrix);
    for (const uint8_t code : matrix.codes) {
      check(code < 1 << matrix.layout.bits);
    }
    source->read_f32(row, 1, values.data());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const carat::GgufFile file(std::as_bytes(std::span(data, size)), "input");
    for (const auto& [key, value] : file.metadata()) look_up(file, key);
    for (const carat::RawTensor& tensor : file.tensors()) {
      check(file.find_tensor(tensor.name) == &tensor);
      read_rows(tensor);
    }
  } catch (const carat::Error&) {
  }
  return 0;
}
