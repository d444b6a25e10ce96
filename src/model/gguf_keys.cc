#include "model/gguf_keys.h"

#include <cmath>

#include "formats/quote.h"

namespace carat {

double GgufKeys::positive(std::string_view suffix, double fallback) const {
  const double value = find_float(suffix).value_or(fallback);
  if (!(value > 0) || !std::isfinite(value)) {
    fail(key(suffix) + " is " + std::to_string(value) +
         ", expected a positive number");
  }
  return value;
}

double GgufKeys::rope_factor() const {
  const auto type = find_string("rope.scaling.type");
  if (!type || *type == "none") return 1;
  if (*type != "linear") {
    fail("rope scaling " + quote(*type) + "; supported: none, linear",
         ErrorCode::kUnsupported);
  }
  return positive("rope.scaling.factor", 1);
}

}  // namespace carat
