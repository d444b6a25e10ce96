// Gemma 3, from 270M to 27B.
#ifndef CARAT_MODEL_GEMMA3_H_
#define CARAT_MODEL_GEMMA3_H_

#include "model/family.h"

namespace carat {

extern const Family kGemma3;

}  // namespace carat

#endif  // CARAT_MODEL_GEMMA3_H_
