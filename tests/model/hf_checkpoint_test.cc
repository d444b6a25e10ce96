// One model in all the layouts that folders have: the same bits each time.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "carat/error.h"
#include "quant/decoder.h"
#include "tests/model/folder_builder.h"
#include "tests/model/loaded_model.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr const char* kQProj = "model.layers.0.self_attn.q_proj";

class HfCheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-hf-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_synthetic_folder(root_ / "base", tiny_folder_config(),
                           {.encoding = Encoding::kMlx4});
    FolderBuilder base(root_ / "base");
    // Norms that are not all one.
    uint32_t state = 1;
    for (auto& tensor : base.tensors) {
      if (!tensor.name.ends_with("norm.weight")) continue;
      for (size_t i = 0; i < tensor.data.size(); i += 2) {
        state = state * 1664525u + 1013904223u;
        const uint16_t value =
            f32_to_bf16(static_cast<float>(state >> 24) / 512.f);
        std::memcpy(&tensor.data[i], &value, sizeof(value));
      }
    }
    fs::remove_all(root_ / "base");
    base.write(root_ / "base");
    expected_ = logits(root_ / "base");
  }
  void TearDown() override { fs::remove_all(root_); }

  static std::vector<float> logits(const fs::path& folder) {
    LoadedModel loaded(folder, {.name = "reference", .threads = 1});
    return loaded.chunked(synthetic_prompt(40, 300), 16);
  }

  using Change = std::function<void(FolderBuilder&)>;

  fs::path write(const Change& change, size_t shards = 1) {
    FolderBuilder folder(root_ / "base");
    change(folder);
    const fs::path path = root_ / ("changed" + std::to_string(++count_));
    folder.write(path, shards);
    return path;
  }
  void expect_same(const Change& change, size_t shards = 1) {
    EXPECT_EQ(logits(write(change, shards)), expected_);
  }
  void expect_error(const Change& change, const std::string& part,
                    ErrorCode code = ErrorCode::kCorrupt) {
    SCOPED_TRACE(part);
    const fs::path path = write(change);
    try {
      logits(path);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      const std::string message = error.what();
      EXPECT_TRUE(message.starts_with(path.string())) << message;
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }

  fs::path root_;
  std::vector<float> expected_;
  int count_ = 0;
};

void add_vision(FolderBuilder& folder, const std::string& prefix) {
  folder.tensors.insert(folder.tensors.begin() + 3,
                        {prefix + "patch_embedding.weight",
                         "F16",
                         {2, 3, 2, 2},
                         std::vector<std::byte>(48)});
  folder.tensors.push_back(
      {prefix + "some_scalar", "I64", {}, std::vector<std::byte>(8)});
}

TEST_F(HfCheckpointTest, TheWeightsAreWhatMakesTheLogits) {
  double squares = 0;
  for (const float logit : expected_) squares += double{logit} * logit;
  EXPECT_GT(squares, 1);
  const fs::path other = write([](FolderBuilder& folder) {
    folder.at("model.layers.3.mlp.up_proj.weight").data[0] ^= std::byte{1};
  });
  EXPECT_NE(logits(other), expected_);
}

TEST_F(HfCheckpointTest, MultimodalLayoutsHoldTheSameModel) {
  expect_same([](FolderBuilder& folder) {
    folder.rename_all("model.", "language_model.model.");
    add_vision(folder, "vision_tower.");
    folder.nest_config();
  });
  expect_same([](FolderBuilder& folder) {
    folder.rename_all("model.", "model.language_model.");
    add_vision(folder, "model.vision_tower.");
    folder.nest_config();
  });
  expect_same([](FolderBuilder& folder) { folder.rename_all("model.", ""); });
}

TEST_F(HfCheckpointTest, ShardsHoldTheSameModel) {
  expect_same([](FolderBuilder&) {}, 3);
}

TEST_F(HfCheckpointTest, TheTensorsTellWhatTheConfigLeavesOut) {
  expect_same([](FolderBuilder& folder) {
    for (const char* key : {"num_attention_heads", "num_key_value_heads",
                            "head_dim", "vocab_size"}) {
      folder.config.erase(key);
    }
  });
}

TEST_F(HfCheckpointTest, AnOwnHeadIsUsed) {
  const auto copy_head = [](FolderBuilder& folder) {
    for (const std::string part : {"weight", "scales", "biases"}) {
      auto tensor = folder.at("model.embed_tokens." + part);
      tensor.name = "lm_head." + part;
      folder.tensors.push_back(tensor);
    }
    folder.config["tie_word_embeddings"] = false;
  };
  expect_same(copy_head);
  const fs::path other = write([&](FolderBuilder& folder) {
    copy_head(folder);
    folder.config.erase("tie_word_embeddings");
    folder.at("lm_head.weight").data[5] ^= std::byte{0xf};
  });
  EXPECT_NE(logits(other), expected_);
  expect_error(
      [](FolderBuilder& folder) {
        folder.config["tie_word_embeddings"] = false;
      },
      "lm_head.weight");
}

TEST_F(HfCheckpointTest, RowsBeyondTheVocabularyAreCut) {
  expect_same([](FolderBuilder& folder) {
    for (const std::string part : {"weight", "scales", "biases"}) {
      auto& tensor = folder.at("model.embed_tokens." + part);
      tensor.data.resize(tensor.data.size() / 300 * 310, std::byte{0x3c});
      tensor.shape[0] = 310;
    }
  });
  expect_error([](FolderBuilder& folder) { folder.config["vocab_size"] = 301; },
               "shape [300, 128]; expected [301, 128]");
}

// The same numbers as 8-bit codes in groups of 32.
TEST_F(HfCheckpointTest, LayersMayHaveTheirOwnQuantisation) {
  const auto widen = [](FolderBuilder& folder, const std::string& name) {
    auto& weight = folder.at(name + ".weight");
    std::vector<std::byte> codes;
    for (const std::byte byte : weight.data) {
      codes.push_back(byte & std::byte{0xf});
      codes.push_back(byte >> 4);
    }
    weight.data = codes;
    weight.shape[1] *= 2;
    for (const char* part : {".scales", ".biases"}) {
      auto& numbers = folder.at(name + part);
      std::vector<std::byte> twice;
      for (size_t i = 0; i < numbers.data.size(); i += 2) {
        for (int copy = 0; copy < 2; ++copy) {
          twice.push_back(numbers.data[i]);
          twice.push_back(numbers.data[i + 1]);
        }
      }
      numbers.data = twice;
      numbers.shape[1] *= 2;
    }
  };
  for (const char* key : {kQProj,
                          "language_model.model.layers.0.self_attn"
                          ".q_proj"}) {
    expect_same([&](FolderBuilder& folder) {
      widen(folder, kQProj);
      folder.config["quantization"][key] = {{"group_size", 32}, {"bits", 8}};
    });
  }
  expect_error([&](FolderBuilder& folder) { widen(folder, kQProj); },
               "shape [128, 256]; expected [128, 128]");
  expect_error(
      [&](FolderBuilder& folder) {
        folder.config["quantization"][kQProj] = false;
      },
      "does not say how it is quantised");
}

// The same numbers once more, as MLX leaves what its groups don't fit.
TEST_F(HfCheckpointTest, DenseMatricesMayStandAmongQuantisedOnes) {
  const auto base = open_checkpoint(root_ / "base");
  const RawTensor* q = base->find("layers.0.self_attn.q_proj");
  const std::vector<float> values = read_all_f32(*q);
  const fs::path path = write([&](FolderBuilder& folder) {
    auto& weight = folder.at(std::string(kQProj) + ".weight");
    weight.dtype = "F32";
    weight.shape = q->shape;
    weight.data.assign(std::as_bytes(std::span(values)).begin(),
                       std::as_bytes(std::span(values)).end());
    folder.erase(std::string(kQProj) + ".scales");
    folder.erase(std::string(kQProj) + ".biases");
  });
  EXPECT_EQ(logits(path), expected_);
}

TEST_F(HfCheckpointTest, RefusesWhatItWouldGetWrong) {
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
  const std::string q = kQProj;
  expect_error(
      [&](FolderBuilder& folder) {
        folder.tensors.push_back(
            {q + ".bias", "BF16", {128}, std::vector<std::byte>(256)});
      },
      "biases are not supported", kUnsupported);
  expect_error(
      [](FolderBuilder& folder) {
        auto tensor = folder.at("model.embed_tokens.weight");
        tensor.name = "language_model.model.embed_tokens.weight";
        folder.tensors.push_back(tensor);
      },
      "two text models");
  expect_error(
      [](FolderBuilder& folder) {
        folder.config.erase("quantization");
        folder.config.erase("quantization_config");
      },
      "does not say how it is quantised");
  expect_error([&](FolderBuilder& folder) { folder.erase(q + ".scales"); },
               "type U32", kUnsupported);
  expect_error([&](FolderBuilder& folder) { folder.erase(q + ".biases"); },
               "no tensor " + q + ".biases");
  expect_error([&](FolderBuilder& folder) { folder.erase(q + ".weight"); },
               "no tensor for layers.0.self_attn.q_proj");
  expect_error([](FolderBuilder& folder) { folder.erase("model.norm.weight"); },
               "no tensor for norm");
  expect_error(
      [&](FolderBuilder& folder) { folder.at(q + ".scales").dtype = "F16"; },
      "F16 and BF16", kUnsupported);
  expect_error(
      [&](FolderBuilder& folder) { folder.at(q + ".weight").dtype = "F32"; },
      "of codes, scales and biases", kUnsupported);
  expect_error(
      [](FolderBuilder& folder) {
        folder.at("model.norm.weight").shape = {1, 128};
      },
      "expected a vector");
  expect_error(
      [&](FolderBuilder& folder) {
        folder.at(q + ".weight").shape = {128 * 16};
      },
      "expected a matrix");
  expect_error(
      [](FolderBuilder& folder) {
        folder.config["num_hidden_layers"] = 8;
        folder.config.erase("layer_types");
      },
      "no tensor for layers.7.input_layernorm");
}

TEST_F(HfCheckpointTest, TheEmbeddingsFactorFollowsTheType) {
  const auto scale = [](const fs::path& folder) {
    return open_checkpoint(folder)->config().embedding_scale;
  };
  const double exact = std::sqrt(128.0);
  EXPECT_EQ(scale(root_ / "base"), 11.3125);
  const auto dense = [](const char* dtype, size_t bytes) {
    return [=](FolderBuilder& folder) {
      auto& weight = folder.at("model.embed_tokens.weight");
      weight.dtype = dtype;
      weight.shape = {300, 128};
      weight.data.assign(300 * 128 * bytes, std::byte{});
      folder.erase("model.embed_tokens.scales");
      folder.erase("model.embed_tokens.biases");
      folder.config.erase("quantization");
      folder.config.erase("quantization_config");
      std::erase_if(folder.tensors, [](const auto& tensor) {
        return tensor.name.find("layers.") != std::string::npos;
      });
    };
  };
  // The builder's files say that MLX wrote them: it rounds always.
  EXPECT_EQ(scale(write(dense("F32", 4))), 11.3125);
  EXPECT_EQ(scale(write(dense("BF16", 2))), 11.3125);
  FolderBuilder folder(root_ / "base");
  dense("F16", 2)(folder);
  folder.write(root_ / "pt", 1, "pt");
  EXPECT_EQ(scale(root_ / "pt"), exact);
}

TEST_F(HfCheckpointTest, OnlyAFolderIsAModel) {
  for (const char* name : {"base/model.safetensors", "base/config.json"}) {
    try {
      open_checkpoint(root_ / name);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("the folder"),
                std::string::npos);
    }
  }
  fs::create_directory(root_ / "empty");
  try {
    open_checkpoint(root_ / "empty");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace carat
