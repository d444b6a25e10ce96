// Which files of a repository carat needs.
#ifndef CARAT_HUB_FILE_CHOICE_H_
#define CARAT_HUB_FILE_CHOICE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hub/repo_listing.h"

namespace carat {

inline constexpr std::string_view kSingleWeights = "model.safetensors";
inline constexpr std::string_view kWeightsIndex =
    "model.safetensors.index.json";

/// Does the repository hold safetensors that carat can load as a folder?
bool has_safetensors(const RepoListing& listing);

/// Configuration, tokenizer and chat template: what goes with safetensors,
/// except the weights and their index, in the listing's order.
std::vector<RepoFile> description_files(const RepoListing& listing);

/// The files that an index (the bytes of model.safetensors.index.json) names.
/// Throws: HubError{kProtocol} if it is broken; Error{kCorrupt}.
std::vector<std::string> indexed_files(std::string_view index,
                                       const std::string& subject);

/// How a pattern that is neither a name nor a glob is read: as the end of a
/// name ("Q4_K_M" of "m-Q4_K_M.gguf") alone, or else as a part of it. A part
/// can mean another file once all that a repository has is known.
enum class GgufReading : uint8_t { kWhole, kPart };

/// The one of `names` that `pattern` (HubName::file) means, among the .gguf
/// files; parts of vision towers ("mmproj") only if it is in the pattern.
/// Throws: HubError{kNotFound} (none), Error{kInvalidArgument} (several; all
/// are listed), Error{kUnsupported} (a part of a split file).
std::string choose_gguf(std::span<const std::string> names,
                        const std::string& pattern, const std::string& subject,
                        GgufReading reading = GgufReading::kPart);

}  // namespace carat

#endif  // CARAT_HUB_FILE_CHOICE_H_
