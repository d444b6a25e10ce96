#include "carat/tokenizer.h"
