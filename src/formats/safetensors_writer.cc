#include "formats/safetensors_writer.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "carat/error.h"
#include "formats/quote.h"
#include "formats/safetensors.h"

namespace carat {

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path,
                                     std::string_view format)
    : file_(std::move(path)), format_(format) {
  static_assert(std::endian::native == std::endian::little);
}

void SafetensorsWriter::add_tensor(std::string_view name,
                                   std::string_view dtype,
                                   std::span<const int64_t> shape) {
  const std::string what = "tensor " + quote(name);
  if (opened_) fail(what + ": added after the first bytes were written");
  const int bits = safetensors_type_bits(dtype);
  if (bits < 8) fail(what + ": type " + quote(dtype) + " is not supported");
  uint64_t bytes = static_cast<uint64_t>(bits) / 8;
  for (const int64_t size : shape) {
    if (size < 0) fail(what + ": a dimension of " + std::to_string(size));
    bytes = checked_mul(bytes, static_cast<uint64_t>(size), what);
  }
  if (!names_.emplace(name).second) fail(what + ": added twice");
  tensors_.push_back({std::string(name),
                      std::string(dtype),
                      {shape.begin(), shape.end()},
                      static_cast<int64_t>(bytes)});
  tensor_bytes_ += static_cast<int64_t>(bytes);
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  open();
  if (std::ssize(bytes) > tensor_bytes_ - written_) {
    fail("more bytes than its tensors have");
  }
  write_raw(bytes.data(), bytes.size());
  written_ += std::ssize(bytes);
}

void SafetensorsWriter::finish() {
  open();
  if (written_ < tensor_bytes_) {
    fail("has " + std::to_string(written_) + " of its tensors' " +
         std::to_string(tensor_bytes_) + " bytes");
  }
  file_.commit();
}

void SafetensorsWriter::fail(const std::string& problem) const {
  throw Error(ErrorCode::kInvalidArgument,
              file_.path().string() + ": " + problem);
}

/// Writes the header, once.
void SafetensorsWriter::open() {
  if (opened_) return;
  nlohmann::ordered_json header = {{"__metadata__", {{"format", format_}}}};
  int64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes}}};
    offset += tensor.bytes;
  }
  std::string text = header.dump();
  // Spaces, so that the data begins at a multiple of 8.
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t size = text.size();
  file_.open();
  opened_ = true;
  write_raw(&size, sizeof(size));
  write_raw(text.data(), text.size());
}

void SafetensorsWriter::write_raw(const void* bytes, size_t size) {
  file_.write({static_cast<const std::byte*>(bytes), size});
}

}  // namespace carat
