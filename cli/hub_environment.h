// The hub's settings, as its other tools read them from the environment.
#ifndef CARAT_CLI_HUB_ENVIRONMENT_H_
#define CARAT_CLI_HUB_ENVIRONMENT_H_

#include "carat/hub.h"

namespace carat::cli {

/// HF_HUB_CACHE, else "hub" in HF_HOME, else in $XDG_CACHE_HOME or ~/.cache,
/// folder huggingface.
std::filesystem::path hub_cache();

/// HF_ENDPOINT, HF_TOKEN or the file "token" of HF_HOME, the proxy's and the
/// certificates' variables.
HubOptions hub_options();

/// HF_HUB_OFFLINE: is the network forbidden?
bool hub_is_offline();

}  // namespace carat::cli

#endif  // CARAT_CLI_HUB_ENVIRONMENT_H_
