// Llama 2 and 3, and the models that share their shape.
#ifndef CARAT_MODEL_LLAMA_H_
#define CARAT_MODEL_LLAMA_H_

#include "model/family.h"

namespace carat {

extern const Family kLlama;

}  // namespace carat

#endif  // CARAT_MODEL_LLAMA_H_
