#include "formats/gguf_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/checked.h"
#include "carat/error.h"
#include "formats/gguf_tensors.h"
#include "formats/quote.h"

namespace carat {
namespace {

constexpr uint32_t kStringType = 8;
constexpr uint32_t kArrayType = 9;
constexpr uint32_t kVersion = 3;
constexpr uint32_t kDefaultAlignment = 32;
constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxTensorNameBytes = 63;  // ggml keeps a terminating zero

}  // namespace

GgufFileWriter::GgufFileWriter(std::filesystem::path path, uint32_t alignment,
                               bool replace)
    : file_(std::move(path), replace), alignment_(alignment) {
  static_assert(std::endian::native == std::endian::little);
  if (alignment < 8 || !std::has_single_bit(alignment)) {
    fail("alignment " + std::to_string(alignment) +
         ", expected a power of two of at least 8");
  }
  if (alignment != kDefaultAlignment) add("general.alignment", alignment);
}

void GgufFileWriter::add(std::string_view key, std::string_view value) {
  begin_pair(key, kStringType);
  put_string(pairs_, value);
}

void GgufFileWriter::add_array(std::string_view key,
                               std::span<const std::string_view> values) {
  begin_array(key, kStringType, values.size());
  for (const std::string_view value : values) put_string(pairs_, value);
}

void GgufFileWriter::add_raw(std::string_view key,
                             std::span<const std::byte> type_and_value) {
  begin_key(key);
  append(pairs_, type_and_value.data(), type_and_value.size());
}

void GgufFileWriter::add_tensor(std::string_view name, Encoding encoding,
                                std::span<const int64_t> shape) {
  const std::string what = "tensor " + quote(name);
  if (opened_) fail(what + ": added after the first bytes were written");
  if (name.empty() || name.size() > kMaxTensorNameBytes) {
    fail(what + ": the name has " + std::to_string(name.size()) +
         " bytes, expected 1 to " + std::to_string(kMaxTensorNameBytes));
  }
  if (shape.empty() || shape.size() > 2 ||
      std::ranges::any_of(shape, [](int64_t size) { return size < 1; })) {
    fail(what + ": expected one or two dimensions of at least 1");
  }
  const EncodingInfo& info = encoding_info(encoding);
  if (shape.back() % info.block_values != 0) {
    fail(what + ": rows of " + std::to_string(shape.back()) +
         " values are not whole blocks of " +
         std::to_string(info.block_values) + " (" + std::string(info.name) +
         ")");
  }
  if (!names_.emplace(name).second) fail(what + ": added twice");
  uint64_t bytes = static_cast<uint64_t>(info.block_bytes);
  bytes = checked_mul(
      bytes, static_cast<uint64_t>(shape.back() / info.block_values), what);
  if (shape.size() == 2) {
    bytes = checked_mul(bytes, static_cast<uint64_t>(shape[0]), what);
  }
  tensors_.push_back(
      {std::string(name), encoding, {shape.begin(), shape.end()}, bytes});
  tensor_bytes_ += static_cast<int64_t>(bytes);
}

void GgufFileWriter::write(std::span<const std::byte> bytes) {
  open();
  while (!bytes.empty()) {
    if (current_ == tensors_.size()) {
      fail(std::to_string(bytes.size()) + " bytes more than its tensors have");
    }
    const Tensor& tensor = tensors_[current_];
    const uint64_t size =
        std::min<uint64_t>(bytes.size(), tensor.bytes - current_bytes_);
    write_raw(reinterpret_cast<const char*>(bytes.data()), size);
    bytes = bytes.subspan(size);
    current_bytes_ += size;
    if (current_bytes_ < tensor.bytes) continue;
    // The last tensor is padded, too: some readers expect it.
    write_zeros(padding(tensor.bytes));
    ++current_;
    current_bytes_ = 0;
  }
}

void GgufFileWriter::finish() {
  open();
  if (current_ < tensors_.size()) {
    const Tensor& tensor = tensors_[current_];
    fail("tensor " + quote(tensor.name) + " has " +
         std::to_string(current_bytes_) + " of its " +
         std::to_string(tensor.bytes) + " bytes");
  }
  file_.commit();
}

void GgufFileWriter::append(std::string& to, const void* from, size_t size) {
  to.append(static_cast<const char*>(from), size);
}

void GgufFileWriter::put_string(std::string& to, std::string_view text) {
  put(to, static_cast<uint64_t>(text.size()));
  to.append(text);
}

void GgufFileWriter::fail(const std::string& problem) const {
  throw Error(ErrorCode::kInvalidArgument,
              file_.path().string() + ": " + problem);
}

void GgufFileWriter::begin_key(std::string_view key) {
  const std::string what = "key " + quote(key);
  if (opened_) fail(what + ": added after the first bytes were written");
  if (key.empty() || key.size() > kMaxKeyBytes) {
    fail(what + ": " + std::to_string(key.size()) +
         " bytes long, expected 1 to " + std::to_string(kMaxKeyBytes));
  }
  if (!keys_.emplace(key).second) fail(what + ": added twice");
  put_string(pairs_, key);
}

void GgufFileWriter::begin_pair(std::string_view key, uint32_t type) {
  begin_key(key);
  put(pairs_, type);
}

void GgufFileWriter::begin_array(std::string_view key, uint32_t type,
                                 size_t count) {
  begin_pair(key, kArrayType);
  put(pairs_, type);
  put(pairs_, static_cast<uint64_t>(count));
}

uint64_t GgufFileWriter::padding(uint64_t bytes) const {
  return (alignment_ - bytes % alignment_) % alignment_;
}

/// Writes all that comes before the data, once.
void GgufFileWriter::open() {
  if (opened_) return;
  std::string head = "GGUF";
  put(head, kVersion);
  put(head, static_cast<uint64_t>(tensors_.size()));
  put(head, static_cast<uint64_t>(keys_.size()));
  head += pairs_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_string(head, tensor.name);
    put(head, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend();
         ++size) {
      put(head, static_cast<uint64_t>(*size));
    }
    put(head, gguf_type_number(tensor.encoding));
    put(head, offset);
    offset += tensor.bytes + padding(tensor.bytes);
  }
  head.append(padding(head.size()), '\0');
  file_.open();
  opened_ = true;
  write_raw(head.data(), head.size());
  pairs_ = {};
}

void GgufFileWriter::write_raw(const char* bytes, size_t size) {
  file_.write({reinterpret_cast<const std::byte*>(bytes), size});
}

void GgufFileWriter::write_zeros(uint64_t size) {
  constexpr std::array<char, 64> kZeros = {};
  for (; size > 0; size -= std::min<uint64_t>(size, kZeros.size())) {
    write_raw(kZeros.data(), std::min<uint64_t>(size, kZeros.size()));
  }
}

}  // namespace carat
