#include "formats/protobuf.h"

#include <gtest/gtest.h>

#include <string>

#include "carat/error.h"

namespace carat {
namespace {

const std::string kName = "some.model";

ProtobufReader read(std::string_view bytes) {
  return {std::as_bytes(std::span(bytes)), kName};
}

TEST(ProtobufTest, WalksThroughEveryWireType) {
  // 1: 300; 2: "hi"; 3: 1.5f; 4: eight bytes; 5: -1.
  const std::string bytes(
      "\x08\xAC\x02\x12\x02hi\x1D\x00\x00\xC0\x3F"
      "\x21\x01\x02\x03\x04\x05\x06\x07\x08"
      "\x28\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
      32);
  ProtobufReader reader = read(bytes);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.field(), 1u);
  EXPECT_EQ(reader.varint(), 300u);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.text(), "hi");
  EXPECT_THROW(reader.varint(), Error);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.float32(), 1.5f);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.field(), 4u);
  EXPECT_THROW(reader.bytes(), Error);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.int32(), -1);
  EXPECT_FALSE(reader.next());
}

TEST(ProtobufTest, RefusesWhatIsNoMessage) {
  for (const std::string_view bytes :
       {"\x08", "\x08\xFF", "\x12\x05hi", "\x1D\x01\x02", "\x0B", "\x02x",
        "\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
        "\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"}) {
    ProtobufReader reader = read(bytes);
    try {
      while (reader.next()) {
      }
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_TRUE(std::string(error.what()).starts_with("some.model: "));
    }
  }
}

}  // namespace
}  // namespace carat
