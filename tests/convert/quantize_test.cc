// quantize_model: what is written runs, is what loading with the same type
// gives, and never harms what is there.
#include "carat/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "carat/engine.h"
#include "carat/error.h"
#include "formats/gguf.h"
#include "model/checkpoint.h"
#include "tests/model/folder_builder.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class QuantizeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kData)) GTEST_SKIP() << kData << " is not there";
    std::string pattern = fs::temp_directory_path() / "carat-quantize-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::vector<float> logits(const fs::path& model,
                                   const std::string& backend = "reference",
                                   const std::string& quantize = "") {
    EngineOptions options;
    options.backend = backend;
    options.threads = 2;
    options.quantize = quantize;
    const auto engine = Engine::load(model, options);
    Session session(*engine);
    const std::vector<int32_t> ids = {2, 17, 300, 41, 5, 99, 250, 7, 7, 81,
                                      2, 17, 300, 41, 5, 99, 250, 7, 7, 80};
    const auto row = session.prefill(ids);
    return {row.begin(), row.end()};
  }

  static double distance(const std::vector<float>& a,
                         const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double error = 0, size = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      error += std::pow(double(a[i]) - b[i], 2);
      size += std::pow(double(a[i]), 2);
    }
    return std::sqrt(error / size);
  }

  void quantize(const fs::path& from, const std::string& to,
                const std::string& type, bool replace = false,
                int threads = 2) const {
    QuantizeOptions options;
    options.type = type;
    options.replace = replace;
    options.threads = threads;
    quantize_model(from, folder_ / to, options);
  }

  void expect_refused(const std::function<void()>& call, ErrorCode code,
                      const std::string& part) const {
    SCOPED_TRACE(part);
    try {
      call();
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << error.what();
    }
  }

  /// A copy of the folder `from`.
  void change_config(const fs::path& from, const char* to,
                     const std::function<void(Json&)>& change) const {
    fs::copy(from, folder_ / to);
    Json config = Json::parse(read(from / "config.json"));
    change(config.contains("text_config") ? config["text_config"] : config);
    fs::remove(folder_ / to / "config.json");
    std::ofstream(folder_ / to / "config.json") << config;
  }

  static std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  inline static const fs::path kData = CARAT_SHARED_DATA;
  inline static const fs::path kFolders = kData / "tiny-gemma3";
  inline static const fs::path kGguf =
      kData / "tiny-gguf" / "gemma3-q4_k_m" / "model.gguf";
  fs::path folder_;
};

// bf16 holds what these folders hold, so nothing may change but the container:
// among other things the query scale, which GGUF does not know, and the factor
// of the embedding, which folders of bf16 round.
TEST_F(QuantizeTest, Bf16ChangesTheContainerAlone) {
  for (const char* name : {"mm-old-bf16", "mm-new-bf16", "untied-bf16"}) {
    SCOPED_TRACE(name);
    const std::string to = std::string(name) + ".gguf";
    quantize(kFolders / name, to, "bf16");
    EXPECT_LT(distance(logits(kFolders / name), logits(folder_ / to)), 3e-3);
  }
  quantize(kFolders / "llama-bf16", "llama.gguf", "bf16");
  EXPECT_LT(
      distance(logits(kFolders / "llama-bf16"), logits(folder_ / "llama.gguf")),
      1e-5);
}

TEST_F(QuantizeTest, EveryTypeRuns) {
  struct Bound {
    const char* type;
    double most;
  };
  // These weights are random: eight layers of them make much of an error.
  constexpr Bound kBounds[] = {{"q8_0", 0.1}, {"q6_k", 0.15}, {"q5_k", 0.5},
                               {"q4_k", 0.6}, {"q4_0", 0.9},  {"mlx8", 0.1},
                               {"mlx4", 1.0}};
  for (const char* name : {"mm-new-bf16", "llama-bf16"}) {
    const std::vector<float> before = logits(kFolders / name);
    for (const Bound& bound : kBounds) {
      SCOPED_TRACE(std::string(name) + " " + bound.type);
      const std::string to = std::string(name) + bound.type;
      quantize(kFolders / name, to, bound.type);
      const double found = distance(before, logits(folder_ / to));
      EXPECT_LT(found, bound.most);
      EXPECT_GT(found, 1e-4);
    }
  }
}

TEST_F(QuantizeTest, LoadingWithATypeIsLoadingTheQuantisedFile) {
  quantize(kFolders / "mm-new-bf16", "bf16.gguf", "bf16");
  for (const std::string type : {"q4_0", "q4_k", "q8_0"}) {
    quantize(folder_ / "bf16.gguf", type + ".gguf", type);
    for (const char* backend : {"cpu", "reference"}) {
      EXPECT_EQ(logits(folder_ / "bf16.gguf", backend, type),
                logits(folder_ / (type + ".gguf"), backend))
          << type << ' ' << backend;
    }
  }
  quantize(kFolders / "mm-new-bf16", "mlx4", "mlx4");
  EXPECT_EQ(logits(kFolders / "mm-new-bf16", "cpu", "mlx4"),
            logits(folder_ / "mlx4", "cpu"));
}

TEST_F(QuantizeTest, GgufKeepsMetadataAndTokenizer) {
  quantize(kGguf, "q8_0.gguf", "q8_0");
  const GgufFile before(kGguf);
  const GgufFile after(folder_ / "q8_0.gguf");
  for (const auto& [key, value] : before.raw_metadata()) {
    if (key == "general.file_type" || key == "general.quantization_version") {
      continue;
    }
    const auto found = after.raw_metadata().find(key);
    ASSERT_NE(found, after.raw_metadata().end()) << key;
    EXPECT_TRUE(std::ranges::equal(found->second, value)) << key;
  }
  EXPECT_EQ(after.find_int("general.file_type"), 7);
  EXPECT_LT(distance(logits(kGguf), logits(folder_ / "q8_0.gguf")), 0.1);
}

TEST_F(QuantizeTest, ThereAndBackKeepsTheTokenizer) {
  quantize(kGguf, "mlx8", "mlx8");
  quantize(folder_ / "mlx8", "back.gguf", "q8_0");
  const auto original = load_tokenizer(kGguf);
  for (const fs::path& path : {folder_ / "mlx8", folder_ / "back.gguf"}) {
    const auto tokenizer = load_tokenizer(path);
    EXPECT_EQ(tokenizer->bos(), original->bos());
    EXPECT_TRUE(std::ranges::equal(tokenizer->eos(), original->eos()));
    for (const char* text :
         {"", "The capital of France is", "  two  spaces\n\n", "caf\xc3\xa9",
          "<start_of_turn>user\nhi<end_of_turn>", "\xf0\x9f\x98\x80 \xff!"}) {
      EXPECT_EQ(tokenizer->encode(text), original->encode(text)) << text;
    }
  }
}

TEST_F(QuantizeTest, BytesDoNotDependOnThreads) {
  quantize(kFolders / "mm-new-bf16", "one", "q4_k", false, 1);
  quantize(kFolders / "mm-new-bf16", "five", "q4_k", false, 5);
  EXPECT_EQ(read(folder_ / "one"), read(folder_ / "five"));
}

TEST_F(QuantizeTest, WhatIsThereStays) {
  const fs::path from = kFolders / "text-f32";
  std::ofstream(folder_ / "out.gguf") << "old";
  const auto kInvalid = ErrorCode::kInvalidArgument;
  expect_refused([&] { quantize(from, "out.gguf", "q4_0"); }, kInvalid,
                 "is there already");
  expect_refused(
      [&] {
        quantize_model(from, folder_ / "out.gguf",
                       {.type = "q4_0",
                        .replace = true,
                        .on_progress = [](int64_t, int64_t) { return false; }});
      },
      ErrorCode::kCancelled, "cancelled");
  EXPECT_EQ(read(folder_ / "out.gguf"), "old");
  quantize(from, "out.gguf", "q4_0", true);
  EXPECT_EQ(logits(folder_ / "out.gguf").size(), 512u);
  expect_refused(
      [&] { quantize(folder_ / "out.gguf", "out.gguf", "q8_0", true); },
      kInvalid, "is the model that is read");
  quantize(from, "mlx", "mlx4");
  expect_refused([&] { quantize(from, "mlx", "mlx8"); }, kInvalid, "not empty");
  expect_refused([&] { quantize(folder_ / "mlx", "mlx/model.gguf", "q8_0"); },
                 kInvalid, "or in it");
  quantize(from, "mlx", "mlx8", true);
  EXPECT_EQ(open_checkpoint(folder_ / "mlx")->find("embed_tokens")->encoding,
            Encoding::kMlx8);
  expect_refused([&] { quantize(from, "x", "q3_k"); }, kInvalid,
                 "type 'q3_k'; expected one of q4_0");
  expect_refused([&] { quantize(from, "no/x.gguf", "q4_0"); }, kInvalid,
                 "cannot be written");
  EXPECT_EQ(
      std::distance(fs::directory_iterator(folder_), fs::directory_iterator()),
      2);
}

TEST_F(QuantizeTest, AGgufFilesStringsNeedNotBeUtf8) {
  std::string bytes = read(kGguf);
  const std::string key = "general.name";
  const size_t at = bytes.find(key);
  ASSERT_NE(at, bytes.npos);
  bytes[at + key.size() + 4 + 8] = '\xff';  // after type and length
  std::ofstream(folder_ / "m.gguf", std::ios::binary) << bytes;
  quantize(folder_ / "m.gguf", "mlx8", "mlx8");
  EXPECT_EQ(open_checkpoint(folder_ / "mlx8")->config().name.substr(0, 3),
            "\xef\xbf\xbd");
}

TEST_F(QuantizeTest, ARopeFactorOfSlidingLayersIsRefused) {
  change_config(kFolders / "text-f32", "source", [](Json& config) {
    config["rope_parameters"]["sliding_attention"] = {
        {"rope_type", "linear"}, {"rope_theta", 1e4}, {"factor", 2.0}};
  });
  for (const char* type : {"q8_0", "mlx8"}) {
    expect_refused([&] { quantize(folder_ / "source", "out", type); },
                   ErrorCode::kUnsupported, "factor of sliding layers");
  }
}

TEST_F(QuantizeTest, NumbersThatAreLostAreRefused) {
  const auto set_first = [&](const char* to, const std::string& tensor,
                             float number) {
    FolderBuilder folder(kFolders / "text-f32");
    for (FolderBuilder::Tensor& found : folder.tensors) {
      if (!found.name.ends_with(tensor)) continue;
      ASSERT_EQ(found.dtype, "F32");
      std::memcpy(found.data.data(), &number, sizeof(number));
    }
    folder.write(folder_ / to);
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  set_first("matrix-nan", "layers.1.mlp.up_proj.weight", kNan);
  set_first("norm-nan", "layers.1.input_layernorm.weight", kNan);
  set_first("large", "layers.1.mlp.up_proj.weight", 3.4e38f);
  set_first("fits", "layers.1.mlp.up_proj.weight", 1e30f);
  for (const char* type :
       {"q4_0", "q4_k", "q5_k", "q6_k", "q8_0", "bf16", "mlx4", "mlx8"}) {
    SCOPED_TRACE(type);
    for (const char* from : {"matrix-nan", "norm-nan"}) {
      expect_refused([&] { quantize(folder_ / from, "out", type); },
                     ErrorCode::kCorrupt, "is not finite");
    }
    expect_refused([&] { quantize(folder_ / "large", "out", type); },
                   ErrorCode::kUnsupported, "a number too large");
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }
  expect_refused([&] { quantize(folder_ / "fits", "out", "q4_0"); },
                 ErrorCode::kUnsupported, "a number too large");
  quantize(folder_ / "fits", "out", "bf16");
}

TEST_F(QuantizeTest, Llama3RopeCrossesContainers) {
  change_config(kFolders / "llama-bf16", "source", [](Json& config) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 64}};
  });
  const std::vector<double> divisors =
      open_checkpoint(folder_ / "source")->config().rope_divisors;
  ASSERT_FALSE(divisors.empty());
  EXPECT_EQ(divisors.back(), 8);
  quantize(folder_ / "source", "mlx8", "mlx8");
  EXPECT_EQ(open_checkpoint(folder_ / "mlx8")->config().rope_divisors,
            divisors);
  quantize(folder_ / "source", "bf16.gguf", "bf16");
  EXPECT_LT(distance(logits(folder_ / "source"), logits(folder_ / "bf16.gguf")),
            1e-5);
  expect_refused([&] { quantize(folder_ / "bf16.gguf", "again", "mlx8"); },
                 ErrorCode::kUnsupported, "RoPE divisors of a GGUF file");
}

TEST_F(QuantizeTest, TheSourceStays) {
  const auto refused = [&](const fs::path& from, const std::string& to,
                           const char* type, const char* part) {
    expect_refused([&] { quantize(from, to, type, true); },
                   ErrorCode::kInvalidArgument, part);
  };
  fs::copy_file(kGguf, folder_ / "m.gguf.part");
  refused(folder_ / "m.gguf.part", "m.gguf", "q8_0", "is the model that is");
  refused(folder_ / "m.gguf.part", "m.gguf", "mlx8", "is the model that is");
  fs::create_symlink("m.gguf.part", folder_ / "link.part");
  refused(folder_ / "m.gguf.part", "link", "q8_0", "is the model that is");
  EXPECT_EQ(read(folder_ / "m.gguf.part"), read(kGguf));

  fs::create_directories(folder_ / "models");
  std::ofstream(folder_ / "models" / "config.json") << "{}";
  fs::copy_file(kGguf, folder_ / "models" / "m.gguf");
  refused(folder_ / "models" / "m.gguf", "models", "mlx8", "holds the model");
  refused(folder_ / "models" / "m.gguf", "models/", "mlx8", "holds the model");
  EXPECT_EQ(read(folder_ / "models" / "m.gguf"), read(kGguf));

  fs::copy(kFolders / "text-f32", folder_ / "f.part");
  refused(folder_ / "f.part", "f", "mlx8", "is the model that is read");
  const fs::path before = fs::current_path();
  fs::current_path(folder_ / "f.part");
  expect_refused(
      [] {
        quantize_model(".", "out.gguf", {.type = "q8_0", .on_progress = {}});
      },
      ErrorCode::kInvalidArgument, "or in it");
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(folder_ / "f.part" / "config.json"));
  EXPECT_FALSE(fs::exists(folder_ / "f.part" / "out.gguf"));
}

TEST_F(QuantizeTest, WhatComesMeanwhileStays) {
  for (const char* type : {"q8_0", "mlx8"}) {
    const fs::path to = folder_ / type;
    const auto come = [&](int64_t done, int64_t total) {
      if (done != total) return true;
      if (type == std::string("mlx8")) fs::create_directories(to);
      std::ofstream(type == std::string("mlx8") ? to / "config.json" : to)
          << "theirs";
      return true;
    };
    expect_refused(
        [&] { quantize_model(kGguf, to, {.type = type, .on_progress = come}); },
        ErrorCode::kInvalidArgument, "is there");
  }
  EXPECT_EQ(read(folder_ / "q8_0"), "theirs");
  EXPECT_EQ(read(folder_ / "mlx8" / "config.json"), "theirs");
}

}  // namespace
}  // namespace carat
