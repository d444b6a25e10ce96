// Golden tensors for tests: a trusting reader of safetensors files.
#ifndef CARAT_TESTS_SAFETENSORS_FILE_H_
#define CARAT_TESTS_SAFETENSORS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace carat {

/// A whole file in memory; spans and shapes live as long as this object.
/// Throws std::runtime_error if a tensor is absent or of another type. Not for
/// untrusted files. Source: the safetensors format (a 64-bit header length,
/// a JSON header, data).
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path)
      : path_(path.string()) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw std::runtime_error(path_ + ": can't be opened");
    uint64_t header_bytes = 0;
    stream.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
    std::string header(header_bytes, ' ');
    stream.read(header.data(), static_cast<std::streamsize>(header_bytes));
    if (!stream) throw std::runtime_error(path_ + ": header is cut short");
    header_ = nlohmann::json::parse(header);

    // In 64-bit words, so that any element type is aligned at the start.
    const auto data_bytes =
        std::filesystem::file_size(path) - sizeof(header_bytes) - header_bytes;
    data_.resize((data_bytes + 7) / 8);
    stream.read(reinterpret_cast<char*>(data_.data()),
                static_cast<std::streamsize>(data_bytes));
    if (!stream) throw std::runtime_error(path_ + ": data is cut short");
  }

  bool has(const std::string& name) const { return header_.contains(name); }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : header_.items()) {
      if (name != "__metadata__") names.push_back(name);
    }
    return names;
  }

  std::vector<int64_t> shape(const std::string& name) const {
    return entry(name).at("shape").get<std::vector<int64_t>>();
  }

  std::span<const float> f32(const std::string& name) const {
    return view<float>(name, "F32");
  }
  std::span<const int32_t> i32(const std::string& name) const {
    return view<int32_t>(name, "I32");
  }
  std::span<const int64_t> i64(const std::string& name) const {
    return view<int64_t>(name, "I64");
  }
  std::span<const uint8_t> u8(const std::string& name) const {
    return view<uint8_t>(name, "U8");
  }

 private:
  const nlohmann::json& entry(const std::string& name) const {
    if (!has(name)) throw std::runtime_error(path_ + ": no tensor " + name);
    return header_.at(name);
  }

  template <class T>
  std::span<const T> view(const std::string& name, const char* type) const {
    const auto& found = entry(name);
    if (found.at("dtype") != type) {
      throw std::runtime_error(path_ + ": " + name + " is not " + type);
    }
    const auto begin = found.at("data_offsets").at(0).get<size_t>();
    const auto end = found.at("data_offsets").at(1).get<size_t>();
    if (begin > end || end > data_.size() * 8 || begin % sizeof(T) != 0) {
      throw std::runtime_error(path_ + ": " + name + " lies badly");
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(data_.data());
    return {reinterpret_cast<const T*>(bytes + begin),
            (end - begin) / sizeof(T)};
  }

  std::string path_;
  nlohmann::json header_;
  std::vector<uint64_t> data_;
};

}  // namespace carat

#endif  // CARAT_TESTS_SAFETENSORS_FILE_H_
