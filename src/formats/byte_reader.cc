#include "formats/byte_reader.h"

#include "carat/error.h"

namespace carat {

void ByteReader::expect_room(uint64_t count, uint64_t item_bytes,
                             std::string_view what) const {
  if (count <= remaining() / item_bytes) return;
  fail(std::string(what) + ": claims " + std::to_string(count) +
       " items of at least " + std::to_string(item_bytes) +
       " bytes, but only " + std::to_string(remaining()) + " bytes follow");
}

void ByteReader::fail(const std::string& problem) const {
  throw Error(ErrorCode::kCorrupt, file_name_ + ": " + problem);
}

void ByteReader::fail_unsupported(const std::string& problem) const {
  throw Error(ErrorCode::kUnsupported, file_name_ + ": " + problem);
}

void ByteReader::fail_short(uint64_t size, std::string_view what) const {
  fail(std::string(what) + ": needs " + std::to_string(size) +
       " bytes at offset " + std::to_string(position_) +
       ", but the file ends after " + std::to_string(remaining()));
}

}  // namespace carat
