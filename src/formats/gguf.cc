#include "formats/gguf.h"

#include <bit>
#include <cstring>
#include <utility>

#include "carat/error.h"
#include "formats/byte_reader.h"
#include "formats/gguf_metadata.h"
#include "formats/gguf_tensors.h"
#include "formats/quote.h"

namespace carat {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMinAlignment = 8;
constexpr int64_t kMaxAlignment = 1 << 20;

void check_magic(ByteReader& reader) {
  if (reader.remaining() < kMagic.size()) {
    reader.fail("only " + std::to_string(reader.remaining()) +
                " bytes long, not a GGUF file");
  }
  const auto bytes = reader.take(kMagic.size(), "magic");
  const std::string_view magic(reinterpret_cast<const char*>(bytes.data()),
                               bytes.size());
  if (magic != kMagic) {
    reader.fail("begins with " + quote(magic) + ", expected 'GGUF'");
  }
}

uint32_t read_version(ByteReader& reader) {
  const auto version = reader.read<uint32_t>("version");
  if (version != 2 && version != 3) {
    // A big-endian file's version has its only set bits on top.
    reader.fail_unsupported("GGUF version " + std::to_string(version) +
                            ((version & 0xffffu) == 0 && version != 0
                                 ? " (a big-endian file?)"
                                 : "") +
                            ", supported: 2 and 3, little-endian");
  }
  return version;
}

[[noreturn]] void fail_kind(const std::filesystem::path& path,
                            std::string_view key, const GgufValue& value,
                            const char* expected) {
  throw Error(ErrorCode::kCorrupt, path.string() + ": key " + quote(key) +
                                       " is " + gguf_kind(value) +
                                       ", expected " + expected);
}

template <class T>
std::optional<T> find_scalar(const GgufFile& file, std::string_view key,
                             const char* expected) {
  const GgufValue* value = file.find(key);
  if (!value) return std::nullopt;
  if (const T* found = std::get_if<T>(value)) return *found;
  fail_kind(file.path(), key, *value, expected);
}

template <class T>
const std::vector<T>* find_array(const GgufFile& file, std::string_view key,
                                 const char* expected) {
  const GgufValue* value = file.find(key);
  if (!value) return nullptr;
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto* found = std::get_if<std::vector<T>>(array)) return found;
  }
  fail_kind(file.path(), key, *value, expected);
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path)
    : path_(path), file_(path) {
  parse(file_.bytes());
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string_view name)
    : path_(name) {
  parse(bytes);
}

void GgufFile::parse(std::span<const std::byte> bytes) {
  ByteReader reader(bytes, path_.string());
  check_magic(reader);
  version_ = read_version(reader);
  const auto tensor_count = reader.read<uint64_t>("tensor count");
  const auto pair_count = reader.read<uint64_t>("metadata count");
  metadata_ = read_gguf_metadata(reader, pair_count, raw_metadata_);

  const int64_t alignment = find_int(kAlignmentKey).value_or(kDefaultAlignment);
  if (alignment < kMinAlignment || alignment > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    reader.fail("key " + quote(kAlignmentKey) + " is " +
                std::to_string(alignment) +
                ", expected a power of two from 8 to 2^20");
  }
  tensors_ = read_gguf_tensors(reader, tensor_count, bytes,
                               static_cast<uint64_t>(alignment));
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!tensor_index_.emplace(tensors_[i].name, i).second) {
      reader.fail("tensor " + quote(tensors_[i].name) + ": appears twice");
    }
  }
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  return find_scalar<int64_t>(*this, key, "an integer");
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value && std::holds_alternative<int64_t>(*value)) {
    return static_cast<double>(std::get<int64_t>(*value));
  }
  return find_scalar<double>(*this, key, "a float");
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  return find_scalar<bool>(*this, key, "a boolean");
}

std::optional<std::string_view> GgufFile::find_string(
    std::string_view key) const {
  return find_scalar<std::string_view>(*this, key, "a string");
}

const std::vector<std::string_view>* GgufFile::find_strings(
    std::string_view key) const {
  return find_array<std::string_view>(*this, key, "an array of strings");
}

const std::vector<double>* GgufFile::find_floats(std::string_view key) const {
  return find_array<double>(*this, key, "an array of floats");
}

const std::vector<int64_t>* GgufFile::find_ints(std::string_view key) const {
  return find_array<int64_t>(*this, key, "an array of integers");
}

const RawTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace carat
