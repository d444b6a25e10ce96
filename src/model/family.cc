#include "model/family.h"

#include <algorithm>
#include <array>

#include "model/gemma3.h"
#include "model/llama.h"

namespace carat {
namespace {

// One row per family.
constexpr std::array kFamilies = {&kGemma3, &kLlama};

void append(std::string& list, std::string_view name) {
  if (!list.empty()) list += ", ";
  list += name;
}

}  // namespace

const Family* find_family(std::string_view name) {
  for (const Family* family : kFamilies) {
    if (family->name == name) return family;
  }
  return nullptr;
}

const Family* find_hf_family(std::string_view model_type) {
  for (const Family* family : kFamilies) {
    if (std::ranges::count(family->hf_names, model_type) > 0) return family;
  }
  return nullptr;
}

std::string family_names() {
  std::string list;
  for (const Family* family : kFamilies) append(list, family->name);
  return list;
}

std::string hf_family_names() {
  std::string list;
  for (const Family* family : kFamilies) {
    for (const std::string_view name : family->hf_names) append(list, name);
  }
  return list;
}

}  // namespace carat
