// The pull of a model, as the tool shows it.
#ifndef CARAT_CLI_PULL_H_
#define CARAT_CLI_PULL_H_

#include "carat/hub.h"

namespace carat::cli {

/// pull_model with a bar and remarks on standard error; Ctrl-C stops it.
PullResult pull_with_progress(const HubName& name, const HubOptions& options);

}  // namespace carat::cli

#endif  // CARAT_CLI_PULL_H_
