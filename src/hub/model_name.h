// Checks of a HubName that no parser made.
#ifndef CARAT_HUB_MODEL_NAME_H_
#define CARAT_HUB_MODEL_NAME_H_

#include "carat/hub.h"

namespace carat {

/// May `name` be asked for and made a path of?
bool is_hub_name(const HubName& name);

/// Throws: Error{kInvalidArgument} unless is_hub_name(name).
void check_hub_name(const HubName& name);

}  // namespace carat

#endif  // CARAT_HUB_MODEL_NAME_H_
