// The tensor table of a GGUF file.
#ifndef CARAT_FORMATS_GGUF_TENSORS_H_
#define CARAT_FORMATS_GGUF_TENSORS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "formats/byte_reader.h"
#include "tensor/raw_tensor.h"

namespace carat {

/// Reads `count` entries from `reader`, which stands behind the metadata, and
/// finds their data in `file` (the whole file), whose data part begins at the
/// next multiple of `alignment`. In file order; names may still repeat.
/// Throws: Error{kCorrupt}, Error{kUnsupported} (type, more than two
/// dimensions).
std::vector<RawTensor> read_gguf_tensors(ByteReader& reader, uint64_t count,
                                         std::span<const std::byte> file,
                                         uint64_t alignment);

/// ggml's number of an encoding in the table.
uint32_t gguf_type_number(Encoding encoding);

}  // namespace carat

#endif  // CARAT_FORMATS_GGUF_TENSORS_H_
