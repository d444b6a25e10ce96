#include "hub/file_choice.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <set>

#include "carat/hub.h"
#include "formats/json.h"
#include "formats/quote.h"
#include "hub/paths.h"

namespace carat {
namespace {

constexpr std::array<std::string_view, 11> kDescription = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json"};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(
      result.begin(), result.end(), result.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
      });
  return result;
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

bool is_delimiter(char c) {
  return c == '-' || c == '.' || c == '_' || c == '/';
}

/// Does `part` begin at `at` of `name` where a part begins?
bool begins_at(const std::string& name, size_t at) {
  return at == 0 || is_delimiter(name[at - 1]);
}

/// "q8_0" of "m-q8_0.gguf", not "f16" of "m-bf16.gguf".
bool is_end_of(const std::string& name, const std::string& part) {
  for (const std::string& end : {part, part + ".gguf"}) {
    if (name.ends_with(end) && begins_at(name, name.size() - end.size())) {
      return true;
    }
  }
  return false;
}

bool is_part_of(const std::string& name, const std::string& part) {
  for (size_t at = name.find(part); at != name.npos;
       at = name.find(part, at + 1)) {
    const size_t end = at + part.size();
    if (begins_at(name, at) &&
        (end == name.size() || is_delimiter(name[end]))) {
      return true;
    }
  }
  return false;
}

/// "...-00001-of-00003.gguf"?
bool is_split(const std::string& name) {
  return fnmatch("*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].*",
                 name.c_str(), 0) == 0;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kMost = 40;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMost); ++i) {
    text += "\n  " + quote(names[i]);
  }
  if (names.size() > kMost) {
    text += "\n  and " + std::to_string(names.size() - kMost) + " more";
  }
  return text;
}

/// Those of `names` that `pattern` means, by the first of its readings that
/// finds any: the name itself, the glob, the end of the name and, unless
/// `whole`, a part of it.
std::vector<std::string> matching(const std::vector<std::string>& names,
                                  const std::string& pattern, bool whole) {
  const std::string wanted = lower(pattern);
  const auto pick = [&](auto&& fits) {
    std::vector<std::string> picked;
    for (const std::string& name : names) {
      if (fits(name, lower(name))) picked.push_back(name);
    }
    return picked;
  };
  std::vector<std::string> found = pick(
      [&](const std::string& name, const auto&) { return name == pattern; });
  if (!found.empty()) return found;
  if (pattern.find_first_of("*?[") != std::string::npos) {
    return pick([&](const auto&, const std::string& name) {
      return fnmatch(wanted.c_str(), name.c_str(), 0) == 0 ||
             fnmatch(wanted.c_str(), base_name(name).c_str(), 0) == 0;
    });
  }
  found = pick([&](const auto&, const std::string& name) {
    return is_end_of(name, wanted);
  });
  if (!found.empty() || whole) return found;
  return pick([&](const auto&, const std::string& name) {
    return is_part_of(name, wanted);
  });
}

}  // namespace

bool has_safetensors(const RepoListing& listing) {
  return listing.find(kSingleWeights) != nullptr ||
         listing.find(kWeightsIndex) != nullptr;
}

std::vector<RepoFile> description_files(const RepoListing& listing) {
  std::vector<RepoFile> files;
  for (const RepoFile& file : listing.files) {
    if (std::find(kDescription.begin(), kDescription.end(), file.name) !=
        kDescription.end()) {
      files.push_back(file);
    }
  }
  return files;
}

std::vector<std::string> indexed_files(std::string_view index,
                                       const std::string& subject) {
  const auto fail = [&](const std::string& problem) {
    throw HubError(HubProblem::kProtocol, subject + ": " + problem);
  };
  const nlohmann::json json = parse_json_object(
      std::as_bytes(std::span(index.data(), index.size())), subject);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    fail("weight_map is missing or no object with tensors");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) fail("the file of " + quote(tensor) + " is no name");
    const auto name = file.get<std::string>();
    if (!is_safe_path(name) || name.find('/') != std::string::npos) {
      fail(quote(name) + " is not the name of a file of the folder");
    }
    names.insert(name);
  }
  return {names.begin(), names.end()};
}

std::string choose_gguf(std::span<const std::string> names,
                        const std::string& pattern, const std::string& subject,
                        GgufReading reading) {
  std::vector<std::string> all;
  for (const std::string& name : names) {
    const std::string folded = lower(name);
    if (!folded.ends_with(".gguf")) continue;
    if (folded.find("mmproj") != std::string::npos &&
        lower(pattern).find("mmproj") == std::string::npos) {
      continue;
    }
    all.push_back(name);
  }
  std::sort(all.begin(), all.end());
  if (all.empty()) {
    throw HubError(HubProblem::kNotFound, subject + ": has no .gguf file");
  }
  const std::vector<std::string> found =
      pattern.empty() ? all
                      : matching(all, pattern, reading == GgufReading::kWhole);
  if (found.empty()) {
    throw HubError(HubProblem::kNotFound, subject + ": no .gguf file is " +
                                              quote(pattern) +
                                              "; there are:" + listed(all));
  }
  if (std::all_of(found.begin(), found.end(), is_split)) {
    throw Error(ErrorCode::kUnsupported,
                subject + ": " + quote(found[0]) +
                    " is one part of a file; only whole .gguf files are read");
  }
  if (found.size() > 1) {
    throw Error(ErrorCode::kInvalidArgument,
                subject + ": choose one of its .gguf files, as in " + subject +
                    ":" + base_name(found[0]) + "; there are:" + listed(found));
  }
  return found[0];
}

}  // namespace carat
