#include "tests/text/golden_tokenizers.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "text/tokenizer_loader.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

fs::path unpack_gemma3_json() {
  const fs::path packed =
      fs::path(CARAT_SHARED_DATA) / "gemma3-tokenizer" / "tokenizer.json.xz";
  const fs::path folder = fs::path(CARAT_UNPACKED_DATA) / "gemma3-tokenizer";
  const fs::path unpacked = folder / "tokenizer.json";
  if (!fs::exists(packed)) return {};
  if (fs::exists(unpacked)) return unpacked;
  fs::create_directories(folder);
  // Tests run side by side: each makes its own, the last one's name stays.
  const fs::path own = folder / ("tokenizer." + std::to_string(getpid()));
  const std::string command =
      "xz -dc '" + packed.string() + "' > '" + own.string() + "'";
  if (std::system(command.c_str()) != 0) {
    fs::remove(own);
    return {};
  }
  fs::rename(own, unpacked);
  return unpacked;
}

}  // namespace

fs::path gemma3_json_path() {
  static const fs::path path = unpack_gemma3_json();
  return path;
}

const Tokenizer* gemma3_from_json() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      gemma3_json_path().empty() ? nullptr
                                 : load_json_tokenizer(gemma3_json_path());
  return tokenizer.get();
}

const Tokenizer* gemma3_from_gguf() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      fs::exists(CARAT_REAL_MODEL)
          ? load_gguf_tokenizer(GgufFile(CARAT_REAL_MODEL))
          : nullptr;
  return tokenizer.get();
}

const Tokenizer* smollm2_from_gguf() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      fs::exists(CARAT_REAL_LLAMA)
          ? load_gguf_tokenizer(GgufFile(CARAT_REAL_LLAMA))
          : nullptr;
  return tokenizer.get();
}

std::vector<nlohmann::json> golden_rows(const std::string& name) {
  std::ifstream file(fs::path(CARAT_SHARED_DATA) / "tokenizer-goldens" / name);
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(file, line);) {
    rows.push_back(nlohmann::json::parse(line));
  }
  return rows;
}

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::vector<int32_t> ids_of(const nlohmann::json& list) {
  return list.get<std::vector<int32_t>>();
}

}  // namespace carat
