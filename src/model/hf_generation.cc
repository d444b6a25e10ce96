#include "model/hf_generation.h"

#include <limits>
#include <optional>
#include <system_error>

#include "carat/error.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "model/hf_config.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Nothing if the file is not there.
std::optional<Json> read_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const MappedFile file(path);
  return parse_json_object(file.bytes(), path.string());
}

/// The number under `key`, in [least, most]; `fallback` if absent or null.
double read_number(const Json& json, const std::string& subject,
                   const char* key, double fallback, double least,
                   double most) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return fallback;
  if (!found->is_number() || !(found->get<double>() >= least) ||
      !(found->get<double>() <= most)) {
    throw Error(ErrorCode::kCorrupt,
                subject + ": " + key + " is " +
                    (found->is_number() ? found->dump() : json_kind(*found)) +
                    ", expected a number from " + std::to_string(least) +
                    " to " + std::to_string(most));
  }
  return found->get<double>();
}

SamplingOptions read_sampling(const Json& json, const std::string& subject) {
  SamplingOptions sampling;
  const auto sample = json.find("do_sample");
  if (sample == json.end() || *sample != true) return sampling;
  const auto number = [&](const char* key, double fallback, double least,
                          double most) {
    return read_number(json, subject, key, fallback, least, most);
  };
  constexpr double kMost = 1e6;
  sampling.temperature = number("temperature", 1, 0, kMost);
  // transformers' own default.
  sampling.top_k = static_cast<int64_t>(
      number("top_k", 50, 0, std::numeric_limits<int32_t>::max()));
  sampling.top_p = number("top_p", 1, 0, 1);
  sampling.min_p = number("min_p", 0, 0, 1);
  sampling.repeat_penalty = number("repetition_penalty", 1, 1e-6, kMost);
  return sampling;
}

std::string as_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

/// A text, or a list of named ones, of which the default counts.
std::string find_template(const Json& json) {
  const auto found = json.find("chat_template");
  if (found == json.end()) return {};
  if (!found->is_array()) return as_text(*found);
  for (const Json& entry : *found) {
    if (entry.is_object() && entry.value("name", Json()) == "default") {
      return as_text(entry.value("template", Json()));
    }
  }
  return {};
}

std::string read_chat_template(const fs::path& folder) {
  std::error_code ignored;
  const fs::path jinja = folder / "chat_template.jinja";
  if (fs::exists(jinja, ignored)) {
    const MappedFile file(jinja);
    return {reinterpret_cast<const char*>(file.bytes().data()),
            file.bytes().size()};
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const auto json = read_json(folder / name);
    if (!json) continue;
    std::string text = find_template(*json);
    if (!text.empty()) return text;
  }
  return {};
}

}  // namespace

HfGeneration read_hf_generation(const fs::path& folder) {
  HfGeneration generation;
  const fs::path path = folder / "generation_config.json";
  if (const auto json = read_json(path)) {
    generation.eos = parse_eos_ids(*json, path.string());
    generation.sampling = read_sampling(*json, path.string());
  }
  generation.chat_template = read_chat_template(folder);
  return generation;
}

}  // namespace carat
