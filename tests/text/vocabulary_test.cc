#include "text/vocabulary.h"

#include <gtest/gtest.h>

namespace carat {
namespace {

TEST(Vocabulary, FindsWhatWasAdded) {
  Vocabulary vocabulary;
  const int32_t count = 20000;
  for (int32_t i = 0; i < count; ++i) {
    vocabulary.add(std::string(static_cast<size_t>(i % 13), 'x') +
                   std::to_string(i));
  }
  EXPECT_EQ(vocabulary.build_index(std::vector<bool>(count, true)),
            std::nullopt);
  EXPECT_EQ(vocabulary.size(), count);
  for (int32_t i = 0; i < count; ++i) {
    ASSERT_EQ(vocabulary.find(vocabulary.piece(i)), i);
    ASSERT_EQ(vocabulary.find(std::to_string(i) + "y"), Vocabulary::kNone);
  }
  EXPECT_EQ(vocabulary.find(std::string(1000, 'x')), Vocabulary::kNone);
  EXPECT_EQ(vocabulary.find(""), Vocabulary::kNone);
}

TEST(Vocabulary, FindsTheLastOfPiecesSpelledAlike) {
  Vocabulary vocabulary;
  for (const char* piece : {"a", "", "a", "b", "a"}) vocabulary.add(piece);
  EXPECT_EQ(vocabulary.build_index({true, true, true, true, false}), 0);
  EXPECT_EQ(vocabulary.find("a"), 2);
  EXPECT_EQ(vocabulary.find("b"), 3);
  EXPECT_EQ(vocabulary.find(""), Vocabulary::kNone);
  EXPECT_EQ(vocabulary.piece(1), "");
  EXPECT_EQ(vocabulary.piece(4), "a");
}

TEST(Vocabulary, WithoutAnIndexFindsNothing) {
  Vocabulary vocabulary;
  vocabulary.add("a");
  EXPECT_EQ(vocabulary.find("a"), Vocabulary::kNone);
}

TEST(Vocabulary, ParsesBytePieces) {
  EXPECT_EQ(parse_byte_piece("<0x00>"), 0);
  EXPECT_EQ(parse_byte_piece("<0xfF>"), 255);
  for (const char* piece :
       {"", "<0x0>", "<0x000>", "<0xG0>", "<0x+1>", "x0x00>", "<0x00x"}) {
    EXPECT_EQ(parse_byte_piece(piece), std::nullopt) << piece;
  }
}

}  // namespace
}  // namespace carat
