#include "base/aligned_buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "carat/error.h"

namespace carat {
namespace {

int64_t resident_pages(const AlignedBuffer& buffer) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> flags((buffer.bytes() + page - 1) / page);
  void* start = const_cast<void*>(buffer.as<void>());
  EXPECT_EQ(mincore(start, buffer.bytes(), flags.data()), 0);
  return std::count_if(flags.begin(), flags.end(),
                       [](unsigned char flag) { return (flag & 1) != 0; });
}

TEST(AlignedBuffer, IsPageAlignedAndReadsAsZero) {
  for (const size_t bytes : {1u, 64u, 4096u, 4097u, 1u << 20}) {
    const AlignedBuffer buffer(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.as<char>()) % 4096, 0u);
    const auto* first = buffer.as<char>();
    EXPECT_TRUE(std::all_of(first, first + bytes,
                            [](char value) { return value == 0; }));
  }
}

TEST(AlignedBuffer, EmptyHoldsNothing) {
  const AlignedBuffer none;
  EXPECT_EQ(none.bytes(), 0u);
  EXPECT_EQ(none.as<char>(), nullptr);
  const AlignedBuffer zero(0);
  EXPECT_EQ(zero.bytes(), 0u);
  EXPECT_EQ(zero.as<char>(), nullptr);
}

TEST(AlignedBuffer, MovesItsMemory) {
  AlignedBuffer first(4096);
  first.as<int>()[7] = 42;
  const int* data = first.as<int>();
  AlignedBuffer second(std::move(first));
  EXPECT_EQ(second.as<int>(), data);
  EXPECT_EQ(second.as<int>()[7], 42);
  AlignedBuffer third(64);
  third = std::move(second);
  EXPECT_EQ(third.as<int>(), data);
  EXPECT_EQ(third.bytes(), 4096u);
  EXPECT_EQ(third.as<int>()[7], 42);
}

TEST(AlignedBuffer, UntouchedPagesCostNothing) {
  // Below the huge-page size, so that one write makes one page resident.
  AlignedBuffer buffer(size_t{1} << 20);
  EXPECT_EQ(resident_pages(buffer), 0);
  buffer.as<char>()[100000] = 1;
  EXPECT_EQ(resident_pages(buffer), 1);
}

TEST(AlignedBuffer, AnImpossibleSizeIsOutOfMemory) {
  try {
    const AlignedBuffer buffer(size_t{1} << 60);
    FAIL() << "2^60 bytes were allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1152921504606846976"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace carat
