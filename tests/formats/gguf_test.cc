#include "formats/gguf.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "carat/error.h"
#include "tests/gguf_builder.h"

namespace carat {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8_0 = 8;
constexpr uint32_t kQ4_K = 12;

/// Expects that `file` is refused with `code` and a message that names it and
/// holds `problem`.
void expect_refused(const Bytes& file, ErrorCode code,
                    const std::string& problem) {
  try {
    const GgufFile gguf(file, "some.gguf");
    ADD_FAILURE() << "accepted; expected: " << problem;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), code) << message;
    EXPECT_EQ(message.rfind("some.gguf: ", 0), 0u) << message;
    EXPECT_NE(message.find(problem), std::string::npos)
        << message << "\nexpected: " << problem;
  }
}

void expect_corrupt(const Bytes& file, const std::string& problem) {
  expect_refused(file, ErrorCode::kCorrupt, problem);
}

Bytes zeros(size_t size) { return Bytes(size); }

/// A small file with every kind of part.
GgufWriter small_file() {
  GgufWriter writer;
  writer.add("general.architecture", "gemma3")
      .add("gemma3.block_count", uint32_t{2})
      .add_array("tokens", std::vector<std::string>{"<pad>", "", "a"})
      .add_array("scores", std::vector<float>{0.0f, -1.5f})
      .add_tensor("a.weight", kF32, {4, 2},
                  GgufWriter::bytes_of<float>({1, 2, 3, 4, 5, 6, 7, 8}))
      .add_tensor("b.weight", kQ8_0, {32, 1, 1}, zeros(34));
  return writer;
}

TEST(Gguf, ReadsEveryScalarType) {
  GgufWriter writer;
  writer.add("u8", uint8_t{200})
      .add("i8", int8_t{-100})
      .add("u16", uint16_t{60000})
      .add("i16", int16_t{-30000})
      .add("u32", uint32_t{4000000000u})
      .add("i32", int32_t{-2000000000})
      .add("u64", uint64_t{1} << 62)
      .add("i64", std::numeric_limits<int64_t>::min())
      .add("f32", 0.25f)
      .add("f64", 0.1)
      .add("true", true)
      .add("false", false)
      .add("string", "text")
      .add("empty", "");
  const Bytes bytes = writer.bytes();
  const GgufFile file(bytes, "some.gguf");
  EXPECT_EQ(file.find_int("u8"), 200);
  EXPECT_EQ(file.find_int("i8"), -100);
  EXPECT_EQ(file.find_int("u16"), 60000);
  EXPECT_EQ(file.find_int("i16"), -30000);
  EXPECT_EQ(file.find_int("u32"), 4000000000);
  EXPECT_EQ(file.find_int("i32"), -2000000000);
  EXPECT_EQ(file.find_int("u64"), int64_t{1} << 62);
  EXPECT_EQ(file.find_int("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file.find_float("f32"), 0.25);
  EXPECT_EQ(file.find_float("f64"), 0.1);
  EXPECT_EQ(file.find_float("i32"), -2e9);
  EXPECT_EQ(file.find_bool("true"), true);
  EXPECT_EQ(file.find_bool("false"), false);
  EXPECT_EQ(file.find_string("string"), "text");
  EXPECT_EQ(file.find_string("empty"), "");
  EXPECT_EQ(file.metadata().size(), 14u);
  EXPECT_TRUE(file.tensors().empty());
}

TEST(Gguf, ReadsEveryArrayType) {
  GgufWriter writer;
  writer.add_array<uint8_t>("u8", {0, 255})
      .add_array<int8_t>("i8", {-128, 127})
      .add_array<uint16_t>("u16", {0, 65535})
      .add_array<int16_t>("i16", {-32768, 5})
      .add_array<uint32_t>("u32", {4294967295u})
      .add_array<int32_t>("i32", {-1, 2, -3})
      .add_array<uint64_t>("u64", {9})
      .add_array<int64_t>("i64", {-9})
      .add_array<float>("f32", {0.5f, -0.5f})
      .add_array<double>("f64", {1e300})
      .add_array<bool>("bool", {true, false, true})
      .add_array<std::string>("string", {"x", "", "yz"})
      .add_array<std::string>("none", {});
  const Bytes bytes = writer.bytes();
  const GgufFile file(bytes, "some.gguf");
  using Ints = std::vector<int64_t>;
  EXPECT_EQ(*file.find_ints("u8"), (Ints{0, 255}));
  EXPECT_EQ(*file.find_ints("i8"), (Ints{-128, 127}));
  EXPECT_EQ(*file.find_ints("u16"), (Ints{0, 65535}));
  EXPECT_EQ(*file.find_ints("i16"), (Ints{-32768, 5}));
  EXPECT_EQ(*file.find_ints("u32"), (Ints{4294967295}));
  EXPECT_EQ(*file.find_ints("i32"), (Ints{-1, 2, -3}));
  EXPECT_EQ(*file.find_ints("u64"), (Ints{9}));
  EXPECT_EQ(*file.find_ints("i64"), (Ints{-9}));
  EXPECT_EQ(*file.find_floats("f32"), (std::vector<double>{0.5, -0.5}));
  EXPECT_EQ(*file.find_floats("f64"), (std::vector<double>{1e300}));
  EXPECT_EQ(
      std::get<std::vector<bool>>(std::get<GgufArray>(*file.find("bool"))),
      (std::vector<bool>{true, false, true}));
  EXPECT_EQ(*file.find_strings("string"),
            (std::vector<std::string_view>{"x", "", "yz"}));
  EXPECT_TRUE(file.find_strings("none")->empty());
}

TEST(Gguf, AbsentKeysAreNotErrors) {
  const Bytes bytes = small_file().bytes();
  const GgufFile file(bytes, "some.gguf");
  EXPECT_EQ(file.find("no"), nullptr);
  EXPECT_EQ(file.find_int("no"), std::nullopt);
  EXPECT_EQ(file.find_float("no"), std::nullopt);
  EXPECT_EQ(file.find_bool("no"), std::nullopt);
  EXPECT_EQ(file.find_string("no"), std::nullopt);
  EXPECT_EQ(file.find_strings("no"), nullptr);
  EXPECT_EQ(file.find_floats("no"), nullptr);
  EXPECT_EQ(file.find_ints("no"), nullptr);
  EXPECT_EQ(file.find_tensor("no"), nullptr);
}

template <class LookUp>
void expect_wrong_kind(LookUp look_up, const std::string& problem) {
  try {
    look_up();
    ADD_FAILURE() << "accepted; expected: " << problem;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_EQ(error.what(), "some.gguf: key " + problem);
  }
}

TEST(Gguf, WrongKindsAreNamed) {
  GgufWriter writer;
  writer.add("i", int32_t{1}).add("f", 1.0f).add("s", "1").add("b", true);
  writer.add_array<int32_t>("ii", {1}).add_array<float>("ff", {1.0f});
  const Bytes bytes = writer.bytes();
  const GgufFile file(bytes, "some.gguf");
  expect_wrong_kind([&] { file.find_int("f"); },
                    "'f' is a float, expected an integer");
  expect_wrong_kind([&] { file.find_int("b"); },
                    "'b' is a boolean, expected an integer");
  expect_wrong_kind([&] { file.find_int("ii"); },
                    "'ii' is an array of integers, expected an integer");
  expect_wrong_kind([&] { file.find_float("s"); },
                    "'s' is a string, expected a float");
  expect_wrong_kind([&] { file.find_bool("i"); },
                    "'i' is an integer, expected a boolean");
  expect_wrong_kind([&] { file.find_string("i"); },
                    "'i' is an integer, expected a string");
  expect_wrong_kind([&] { file.find_strings("s"); },
                    "'s' is a string, expected an array of strings");
  expect_wrong_kind(
      [&] { file.find_floats("ii"); },
      "'ii' is an array of integers, expected an array of floats");
  expect_wrong_kind(
      [&] { file.find_ints("ff"); },
      "'ff' is an array of floats, expected an array of integers");
}

TEST(Gguf, FindsTensors) {
  const Bytes bytes = small_file().bytes();
  const GgufFile file(bytes, "some.gguf");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a.weight");

  const RawTensor* a = file.find_tensor("a.weight");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->encoding, Encoding::kF32);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{2, 4}));  // outermost first
  ASSERT_EQ(a->data.size(), 32u);
  float last;
  std::memcpy(&last, a->data.data() + 28, sizeof(last));
  EXPECT_EQ(last, 8.0f);

  const RawTensor* b = file.find_tensor("b.weight");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->encoding, Encoding::kQ8_0);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{32}));  // trailing ones dropped
  EXPECT_EQ(b->data.size(), 34u);
}

TEST(Gguf, MovesKeepViewsAlive) {
  const Bytes bytes = small_file().bytes();
  GgufFile first(bytes, "some.gguf");
  const GgufFile moved(std::move(first));
  EXPECT_EQ(moved.find_string("general.architecture"), "gemma3");
  EXPECT_EQ(moved.find_tensor("b.weight"), &moved.tensors()[1]);
}

TEST(Gguf, ReadsFromAPath) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / "carat_gguf_test.gguf";
  small_file().write(path);
  const GgufFile file(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.find_int("gemma3.block_count"), 2);
  std::filesystem::remove(path);

  try {
    const GgufFile absent(path);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

TEST(Gguf, ReadsVersion2AndOtherAlignments) {
  GgufWriter writer;
  writer.version = 2;
  writer.alignment = 256;
  writer.add("general.alignment", uint32_t{256})
      .add_tensor("a", kF32, {1}, zeros(4))
      .add_tensor("b", kF32, {1}, GgufWriter::bytes_of<float>({3.0f}));
  const Bytes bytes = writer.bytes();
  const GgufFile file(bytes, "some.gguf");
  EXPECT_EQ(file.version(), 2u);
  float value;
  std::memcpy(&value, file.find_tensor("b")->data.data(), sizeof(value));
  EXPECT_EQ(value, 3.0f);
}

TEST(Gguf, EveryTruncationIsAnError) {
  const Bytes whole = small_file().bytes();
  EXPECT_NO_THROW(GgufFile(whole, "some.gguf"));
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that a read behind it is seen by the sanitizer.
    const Bytes cut(whole.begin(), whole.begin() + static_cast<long>(size));
    expect_corrupt(cut, "");
  }
}

TEST(Gguf, RefusesBrokenHeaders) {
  expect_corrupt({}, "only 0 bytes long");
  Bytes magic = small_file().bytes();
  magic[3] = std::byte{'L'};
  expect_corrupt(magic, "begins with 'GGUL', expected 'GGUF'");

  GgufWriter writer = small_file();
  for (const uint32_t version : {0u, 1u, 4u, 99u}) {
    writer.version = version;
    expect_refused(
        writer.bytes(), ErrorCode::kUnsupported,
        "GGUF version " + std::to_string(version) + ", supported: 2");
  }
  writer.version = 0x03000000;
  expect_refused(writer.bytes(), ErrorCode::kUnsupported, "big-endian");
}

TEST(Gguf, RefusesCountsBeyondTheFile) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 32,
                               uint64_t{1} << 61, uint64_t{1} << 63, kMax}) {
    GgufWriter pairs = small_file();
    pairs.claimed_pairs = count;
    expect_corrupt(pairs.bytes(), "metadata: claims " + std::to_string(count));
    GgufWriter tensors = small_file();
    tensors.claimed_tensors = count;
    expect_corrupt(tensors.bytes(), "tensor table: claims");

    const std::vector<uint64_t> length = {count};
    expect_corrupt(
        GgufWriter().add_raw("k", 8, GgufWriter::bytes_of(length)).bytes(),
        "key 'k': needs " + std::to_string(count) + " bytes");
    for (uint32_t type = 0; type <= 12; ++type) {
      if (type == 9) continue;
      const auto halves = std::bit_cast<std::array<uint32_t, 2>>(count);
      std::vector<uint32_t> array = {type, halves[0], halves[1]};
      array.resize(16);
      expect_corrupt(
          GgufWriter().add_raw("k", 9, GgufWriter::bytes_of(array)).bytes(),
          "key 'k': ");
    }
  }
}

TEST(Gguf, RefusesBrokenPairs) {
  expect_corrupt(GgufWriter().add_raw("k", 13, zeros(16)).bytes(),
                 "key 'k': unknown value type 13");
  expect_corrupt(
      GgufWriter()
          .add_raw("k", 9, GgufWriter::bytes_of<uint32_t>({99, 1, 0}))
          .bytes(),
      "key 'k': unknown value type 99");
  expect_corrupt(GgufWriter().add("k", 1).add("k", 2).bytes(),
                 "key 'k': appears twice");
  expect_corrupt(GgufWriter().add_raw("k", 7, {std::byte{2}}).bytes(),
                 "key 'k': boolean 2");
  expect_corrupt(GgufWriter().add("k", uint64_t{1} << 63).bytes(),
                 "key 'k': 9223372036854775808 is beyond 2^63 - 1");
  expect_corrupt(
      GgufWriter().add_array<uint64_t>("k", {0, uint64_t{1} << 63}).bytes(),
      "key 'k': 9223372036854775808 is beyond 2^63 - 1");
  expect_corrupt(GgufWriter().add(std::string(65536, 'k'), 1).bytes(),
                 "65536 bytes long, expected at most 65535");
  expect_refused(GgufWriter()
                     .add_raw("k", 9, GgufWriter::bytes_of<uint32_t>({9, 1, 0}))
                     .bytes(),
                 ErrorCode::kUnsupported, "key 'k': an array of arrays");
}

TEST(Gguf, RefusesBrokenAlignments) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 1u << 21}) {
    expect_corrupt(GgufWriter().add("general.alignment", alignment).bytes(),
                   "key 'general.alignment' is " + std::to_string(alignment));
  }
  expect_corrupt(GgufWriter().add("general.alignment", int32_t{-32}).bytes(),
                 "key 'general.alignment' is -32");
  expect_corrupt(GgufWriter().add("general.alignment", "32").bytes(),
                 "key 'general.alignment' is a string, expected an integer");
}

TEST(Gguf, RefusesBrokenShapes) {
  const auto with_dims = [](const std::vector<uint64_t>& dims, uint32_t type) {
    return GgufWriter().add_tensor("t", type, dims, zeros(64)).bytes();
  };
  expect_corrupt(with_dims({}, kF32), "tensor 't': 0 dimensions");
  expect_corrupt(with_dims({1, 1, 1, 1, 1}, kF32), "tensor 't': 5 dimensions");
  expect_corrupt(with_dims({4, 0}, kF32), "tensor 't': dimension 1 is 0");
  expect_corrupt(with_dims({uint64_t{1} << 63}, kF32),
                 "tensor 't': dimension 0 is 9223372036854775808");
  expect_corrupt(with_dims({uint64_t{1} << 62, 8}, kF32),
                 "tensor 't': size overflows 64 bits");
  expect_corrupt(with_dims({uint64_t{1} << 32, uint64_t{1} << 30}, kF32),
                 "tensor 't': size overflows 64 bits");
  expect_corrupt(with_dims({31, 1}, kQ8_0),
                 "tensor 't': rows of 31 values are not whole blocks of 32");
  expect_corrupt(with_dims({32, 8}, kQ4_K),
                 "tensor 't': rows of 32 values are not whole blocks of 256");
  expect_refused(with_dims({2, 2, 2}, kF32), ErrorCode::kUnsupported,
                 "tensor 't': 3 dimensions");
}

TEST(Gguf, RefusesUnknownTensorTypes) {
  for (const uint32_t type : {4u, 5u, 9u, 15u, 20u, 24u, 31u, 200u, ~0u}) {
    expect_refused(
        GgufWriter().add_tensor("t", type, {256}, zeros(1024)).bytes(),
        ErrorCode::kUnsupported,
        "tensor 't': tensor type " + std::to_string(type) +
            " is not supported; supported: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, "
            "Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, BF16");
  }
}

TEST(Gguf, RefusesBrokenOffsets) {
  const auto with_offset = [](uint64_t offset) {
    return GgufWriter()
        .add_tensor("a", kF32, {16}, zeros(64))
        .add_tensor("b", kF32, {16}, zeros(64), offset)
        .bytes();
  };
  EXPECT_NO_THROW(GgufFile(with_offset(64), "some.gguf"));
  expect_corrupt(with_offset(33),
                 "tensor 'b': data offset 33 is not a multiple");
  expect_corrupt(with_offset(96),
                 "tensor 'b': 64 bytes at data offset 96 reach");
  expect_corrupt(with_offset(uint64_t{1} << 40), "reach beyond the file's 128");
  expect_corrupt(with_offset(~uint64_t{31}), "reach beyond the file's 128");
  expect_corrupt(with_offset(32), "tensors 'a' and 'b' overlap");
  expect_corrupt(with_offset(0), "overlap");
}

TEST(Gguf, RefusesRepeatedTensors) {
  expect_corrupt(GgufWriter()
                     .add_tensor("t", kF32, {1}, zeros(4))
                     .add_tensor("t", kF32, {1}, zeros(4))
                     .bytes(),
                 "tensor 't': appears twice");
}

TEST(Gguf, NamesInMessagesArePrintable) {
  expect_corrupt(GgufWriter().add("\xff\n", 1).add("\xff\n", 2).bytes(),
                 "key '\\xff\\x0a': appears twice");
}

// A vocabulary of Gemma 3's size must not be felt at start.
TEST(Gguf, ReadsALargeVocabularyFast) {
  std::vector<std::string> tokens;
  for (int i = 0; i < 262144; ++i)
    tokens.push_back("token" + std::to_string(i));
  const Bytes bytes = GgufWriter().add_array("tokens", tokens).bytes();

  const auto start = std::chrono::steady_clock::now();
  const GgufFile file(bytes, "some.gguf");
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  const auto* views = file.find_strings("tokens");
  ASSERT_EQ(views->size(), tokens.size());
  EXPECT_EQ(views->back(), "token262143");
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  EXPECT_GE(views->back().data(), begin);  // a view, not a copy
  EXPECT_LT(views->back().data(), begin + bytes.size());
  EXPECT_LT(elapsed.count(), 1.0);  // a few ms; the rest is for sanitizers
}

/// Files whose container is sound: what is wrong, if anything, is up to the
/// model and the tokenizer.
bool container_is_sound(const std::string& name) {
  static const std::vector<std::string> kSound = {
      "valid-gemma3",
      "valid-llama",
      "gguf-architecture-missing",
      "gguf-architecture-unknown",
      "gguf-block-count-2e31",
      "gguf-embedding-length-mismatch",
      "gguf-embedding-length-string",
      "gguf-eos-out-of-range",
      "gguf-head-count-zero",
      "gguf-q8-scale-nan",
      "gguf-scores-too-short",
      "gguf-tensor-missing",
      "gguf-token-invalid-utf8",
      "gguf-tokens-missing"};
  return std::find(kSound.begin(), kSound.end(), name) != kSound.end();
}

int64_t peak_memory_bytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(Gguf, MalformedFilesAreRefused) {
  const auto folder =
      std::filesystem::path(CARAT_SHARED_DATA) / "malformed-inputs" / "gguf";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no folder " << folder;
  }
  const int64_t memory_before = peak_memory_bytes();
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    SCOPED_TRACE(name);
    if (container_is_sound(name)) {
      EXPECT_NO_THROW(GgufFile(entry.path()));
      continue;
    }
    try {
      const GgufFile file(entry.path());
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(
          std::string(error.what()).rfind(entry.path().string() + ": ", 0), 0u)
          << error.what();
      ++refused;
    }
  }
  EXPECT_EQ(refused, 24);
  EXPECT_LT(peak_memory_bytes() - memory_before, 64 << 20);
}

TEST(Gguf, TinyModelsOpen) {
  const auto folder = std::filesystem::path(CARAT_SHARED_DATA) / "tiny-gguf";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no folder " << folder;
  }
  for (const char* model :
       {"gemma3-mixed-types", "gemma3-q4_k_m", "llama-q4_1"}) {
    SCOPED_TRACE(model);
    const GgufFile file(folder / model / "model.gguf");
    ASSERT_TRUE(file.find_string("general.architecture").has_value());
    const std::string architecture(*file.find_string("general.architecture"));
    const auto width = file.find_int(architecture + ".embedding_length");
    const RawTensor* embedding = file.find_tensor("token_embd.weight");
    ASSERT_NE(embedding, nullptr);
    EXPECT_EQ(embedding->cols(), width);
    EXPECT_EQ(embedding->rows(),
              std::ssize(*file.find_strings("tokenizer.ggml.tokens")));
  }
}

}  // namespace
}  // namespace carat
