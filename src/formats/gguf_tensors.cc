#include "formats/gguf_tensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <string_view>

#include "base/checked.h"
#include "base/require.h"
#include "formats/quote.h"

namespace carat {
namespace {

struct TypeNumber {
  uint32_t number;
  Encoding encoding;
};

/// Source: enum ggml_type (ggml.h).
constexpr std::array<TypeNumber, 13> kTypes = {{
    {0, Encoding::kF32},
    {1, Encoding::kF16},
    {2, Encoding::kQ4_0},
    {3, Encoding::kQ4_1},
    {6, Encoding::kQ5_0},
    {7, Encoding::kQ5_1},
    {8, Encoding::kQ8_0},
    {10, Encoding::kQ2_K},
    {11, Encoding::kQ3_K},
    {12, Encoding::kQ4_K},
    {13, Encoding::kQ5_K},
    {14, Encoding::kQ6_K},
    {30, Encoding::kBF16},
}};

constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMinEntryBytes = 32;  // name length, 1 dim, type, offset

/// One table entry; `begin` and `bytes` are positions in the data part.
struct Entry {
  RawTensor tensor;
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

Encoding find_encoding(const ByteReader& reader, uint32_t number,
                       const std::string& what) {
  for (const TypeNumber& type : kTypes) {
    if (type.number == number) return type.encoding;
  }
  std::string known;
  for (const TypeNumber& type : kTypes) {
    if (!known.empty()) known += ", ";
    known += encoding_info(type.encoding).name;
  }
  reader.fail_unsupported(what + ": tensor type " + std::to_string(number) +
                          " is not supported; supported: " + known);
}

/// Dimensions, turned outermost first; trailing ones of the file's order
/// (innermost first) say nothing and are dropped.
std::vector<int64_t> read_shape(ByteReader& reader, const std::string& what) {
  const auto dims = reader.read<uint32_t>(what);
  if (dims < 1 || dims > kMaxDims) {
    reader.fail(what + ": " + std::to_string(dims) +
                " dimensions, expected 1 to " + std::to_string(kMaxDims));
  }
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < dims; ++i) {
    const auto size = reader.read<uint64_t>(what);
    if (size < 1 ||
        size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      reader.fail(what + ": dimension " + std::to_string(i) + " is " +
                  std::to_string(size) + ", expected 1 to 2^63 - 1");
    }
    shape.push_back(static_cast<int64_t>(size));
  }
  while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
  if (shape.size() > 2) {
    reader.fail_unsupported(what + ": " + std::to_string(shape.size()) +
                            " dimensions; supported: vectors and matrices");
  }
  std::reverse(shape.begin(), shape.end());
  return shape;
}

uint64_t count_bytes(const ByteReader& reader, const RawTensor& tensor,
                     const std::string& what) {
  const EncodingInfo& info = encoding_info(tensor.encoding);
  const auto rows = static_cast<uint64_t>(tensor.rows());
  const auto cols = static_cast<uint64_t>(tensor.cols());
  const auto block_values = static_cast<uint64_t>(info.block_values);
  if (cols % block_values != 0) {
    reader.fail(what + ": rows of " + std::to_string(cols) +
                " values are not whole blocks of " +
                std::to_string(info.block_values) + " (" +
                std::string(info.name) + ")");
  }
  const std::string subject = reader.file_name() + ": " + what;
  return checked_mul(checked_mul(rows, cols / block_values, subject),
                     static_cast<uint64_t>(info.block_bytes), subject);
}

Entry read_entry(ByteReader& reader, uint64_t index, uint64_t alignment) {
  const std::string_view name = reader.read_string(
      "entry " + std::to_string(index) + " of the tensor table");
  const std::string what = "tensor " + quote(name);
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.shape = read_shape(reader, what);
  entry.tensor.encoding =
      find_encoding(reader, reader.read<uint32_t>(what), what);
  entry.bytes = count_bytes(reader, entry.tensor, what);
  entry.begin = reader.read<uint64_t>(what);
  if (entry.begin % alignment != 0) {
    reader.fail(what + ": data offset " + std::to_string(entry.begin) +
                " is not a multiple of the alignment " +
                std::to_string(alignment));
  }
  return entry;
}

/// Throws unless every entry's data lies in the data part, apart from others'.
void check_ranges(const ByteReader& reader, const std::vector<Entry>& entries,
                  uint64_t data_bytes) {
  std::vector<const Entry*> by_offset;
  by_offset.reserve(entries.size());
  for (const Entry& entry : entries) {
    if (entry.begin > data_bytes || entry.bytes > data_bytes - entry.begin) {
      reader.fail("tensor " + quote(entry.tensor.name) + ": " +
                  std::to_string(entry.bytes) + " bytes at data offset " +
                  std::to_string(entry.begin) + " reach beyond the file's " +
                  std::to_string(data_bytes) + " bytes of data");
    }
    by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const Entry* a, const Entry* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const Entry& before = *by_offset[i - 1];
    const Entry& after = *by_offset[i];
    if (after.begin - before.begin < before.bytes) {
      reader.fail("tensors " + quote(before.tensor.name) + " and " +
                  quote(after.tensor.name) + " overlap");
    }
  }
}

}  // namespace

uint32_t gguf_type_number(Encoding encoding) {
  const auto type = std::ranges::find(kTypes, encoding, &TypeNumber::encoding);
  require(type != kTypes.end(), "gguf_type_number: encoding not in the table");
  return type->number;
}

std::vector<RawTensor> read_gguf_tensors(ByteReader& reader, uint64_t count,
                                         std::span<const std::byte> file,
                                         uint64_t alignment) {
  reader.expect_room(count, kMinEntryBytes, "tensor table");
  std::vector<Entry> entries;
  entries.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    entries.push_back(read_entry(reader, i, alignment));
  }

  // A file without tensors may end before its padding.
  const uint64_t data_begin = std::min<uint64_t>(
      file.size(), (reader.position() + alignment - 1) / alignment * alignment);
  const auto data = file.subspan(data_begin);
  check_ranges(reader, entries, data.size());

  std::vector<RawTensor> tensors;
  tensors.reserve(count);
  for (Entry& entry : entries) {
    entry.tensor.data = data.subspan(entry.begin, entry.bytes);
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

}  // namespace carat
