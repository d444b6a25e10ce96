// GGUF files for tests, written byte by byte.
#ifndef CARAT_TESTS_GGUF_BUILDER_H_
#define CARAT_TESTS_GGUF_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

namespace carat {

/// Collects pairs and tensors, then writes the file. Checks nothing, so that
/// broken files can be made: counts and offsets can be overridden, and
/// add_raw() takes any value type. Source: the GGUF specification, version 3.
class GgufWriter {
 public:
  uint32_t version = 3;
  /// Where set, written instead of the true counts.
  std::optional<uint64_t> claimed_pairs;
  std::optional<uint64_t> claimed_tensors;
  /// Offsets of tensor data are multiples of this; an unusual value also needs
  /// a pair "general.alignment".
  uint64_t alignment = 32;

  /// An integer, float or bool under the type number of T itself.
  template <class T>
  requires std::is_arithmetic_v<T> GgufWriter& add(std::string_view key,
                                                   T value) {
    begin_pair(key, type_number<T>());
    put(pairs_, value);
    return *this;
  }

  GgufWriter& add(std::string_view key, std::string_view value) {
    begin_pair(key, kString);
    put_string(pairs_, value);
    return *this;
  }
  GgufWriter& add(std::string_view key, const char* value) {
    return add(key, std::string_view(value));
  }

  template <class T>
  requires std::is_arithmetic_v<T> GgufWriter& add_array(
      std::string_view key, const std::vector<T>& values) {
    begin_array(key, type_number<T>(), values.size());
    for (const T value : values) put(pairs_, value);
    return *this;
  }

  template <class String>
  requires std::is_convertible_v<String, std::string_view> GgufWriter&
  add_array(std::string_view key, const std::vector<String>& values) {
    begin_array(key, kString, values.size());
    for (const auto& value : values) put_string(pairs_, value);
    return *this;
  }

  /// A pair with any type number and any bytes as its value.
  GgufWriter& add_raw(std::string_view key, uint32_t type,
                      const std::vector<std::byte>& value) {
    begin_pair(key, type);
    append(pairs_, value.data(), value.size());
    return *this;
  }

  /// `dims` in the file's order (innermost first); `type` is ggml's number.
  /// `offset` replaces the one that follows from the tensors before.
  GgufWriter& add_tensor(std::string_view name, uint32_t type,
                         const std::vector<uint64_t>& dims,
                         const std::vector<std::byte>& data,
                         std::optional<uint64_t> offset = std::nullopt) {
    pad(data_);
    ++tensor_count_;
    put_string(tensors_, name);
    put(tensors_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) put(tensors_, dim);
    put(tensors_, type);
    put(tensors_, offset.value_or(data_.size()));
    append(data_, data.data(), data.size());
    return *this;
  }

  /// The file, which ends with the last tensor's last byte.
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> file;
    for (const char letter : {'G', 'G', 'U', 'F'}) put(file, letter);
    put(file, version);
    put(file, claimed_tensors.value_or(tensor_count_));
    put(file, claimed_pairs.value_or(pair_count_));
    append(file, pairs_.data(), pairs_.size());
    append(file, tensors_.data(), tensors_.size());
    if (!data_.empty()) pad(file);
    append(file, data_.data(), data_.size());
    return file;
  }

  void write(const std::filesystem::path& path) const {
    const std::vector<std::byte> file = bytes();
    std::ofstream stream(path, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(file.data()),
                 static_cast<std::streamsize>(file.size()));
  }

  /// The bytes of some numbers, for add_raw() and tensor data.
  template <class T>
  static std::vector<std::byte> bytes_of(const std::vector<T>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }

 private:
  static constexpr uint32_t kString = 8;
  static constexpr uint32_t kArray = 9;

  template <class T>
  static constexpr uint32_t type_number() {
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, double>) return 12;
    constexpr uint32_t kSigned = std::is_signed_v<T> ? 1 : 0;
    if constexpr (sizeof(T) == 1) return 0 + kSigned;
    if constexpr (sizeof(T) == 2) return 2 + kSigned;
    if constexpr (sizeof(T) == 4) return 4 + kSigned;
    return 10 + kSigned;
  }

  static void append(std::vector<std::byte>& to, const void* from,
                     size_t size) {
    const size_t end = to.size();
    to.resize(end + size);
    if (size > 0) std::memcpy(to.data() + end, from, size);
  }

  template <class T>
  static void put(std::vector<std::byte>& to, T value) {
    append(to, &value, sizeof(value));
  }

  static void put_string(std::vector<std::byte>& to, std::string_view text) {
    put(to, static_cast<uint64_t>(text.size()));
    append(to, text.data(), text.size());
  }

  void begin_pair(std::string_view key, uint32_t type) {
    ++pair_count_;
    put_string(pairs_, key);
    put(pairs_, type);
  }

  void begin_array(std::string_view key, uint32_t type, size_t count) {
    begin_pair(key, kArray);
    put(pairs_, type);
    put(pairs_, static_cast<uint64_t>(count));
  }

  void pad(std::vector<std::byte>& bytes) const {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  }

  uint64_t pair_count_ = 0;
  uint64_t tensor_count_ = 0;
  std::vector<std::byte> pairs_;
  std::vector<std::byte> tensors_;
  std::vector<std::byte> data_;
};

}  // namespace carat

#endif  // CARAT_TESTS_GGUF_BUILDER_H_
