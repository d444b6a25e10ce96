#include "hub/model_name.h"

#include <algorithm>
#include <cctype>

#include "formats/quote.h"
#include "hub/paths.h"

namespace carat {
namespace {

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' ||
         c == '_' || c == '.';
}

/// The hub's own rules; "--" would also make the cache's folders ambiguous.
bool is_name_part(std::string_view part) {
  return !part.empty() && part.size() <= 96 &&
         std::all_of(part.begin(), part.end(), is_name_character) &&
         part.front() != '-' && part.front() != '.' && part.back() != '-' &&
         part.back() != '.' && part.find("--") == part.npos &&
         part.find("..") == part.npos;
}

bool is_model(std::string_view model) {
  const size_t slash = model.find('/');
  if (slash == model.npos) return is_name_part(model);
  return is_name_part(model.substr(0, slash)) &&
         is_name_part(model.substr(slash + 1));
}

bool is_revision(std::string_view revision) {
  return revision.size() <= 200 && is_safe_path(revision) &&
         std::all_of(revision.begin(), revision.end(), [](char c) {
           return is_name_character(c) || c == '/' || c == '+';
         });
}

}  // namespace

bool is_hub_name(const HubName& name) {
  return is_model(name.model) && is_revision(name.revision) &&
         name.file.size() <= 1000;
}

void check_hub_name(const HubName& name) {
  if (is_hub_name(name)) return;
  throw Error(ErrorCode::kInvalidArgument,
              quote(name.model) + " at " + quote(name.revision) +
                  " is no model's name and revision");
}

HubName parse_hub_name(std::string_view text) {
  HubName name;
  std::string_view rest = text;
  const auto cut = [&](char mark, std::string& part) {
    const size_t at = rest.find(mark);
    if (at == rest.npos) return true;
    part = rest.substr(at + 1);
    rest = rest.substr(0, at);
    return !part.empty();
  };
  bool good = cut(':', name.file);
  good = cut('@', name.revision) && good;
  name.model = rest;
  if (!good || !is_hub_name(name)) {
    throw Error(ErrorCode::kInvalidArgument,
                quote(text) +
                    " is no model's name; expected org/name[@revision][:file]");
  }
  return name;
}

HubError::HubError(HubProblem problem, const std::string& message)
    : Error(
          [&] {
            switch (problem) {
              case HubProblem::kNetwork:
              case HubProblem::kNotFound:
                return ErrorCode::kNotFound;
              case HubProblem::kDenied:
                return ErrorCode::kInvalidArgument;
              case HubProblem::kDiskFull:
                return ErrorCode::kOutOfMemory;
              case HubProblem::kProtocol:
                break;
            }
            return ErrorCode::kCorrupt;
          }(),
          message),
      problem_(problem) {}

}  // namespace carat
