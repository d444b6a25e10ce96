// The built tool, run as a user runs it: exit codes, one-line messages, JSON.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kModel =
    fs::path(CARAT_SHARED_DATA) / "tiny-gguf" / "gemma3-q4_k_m" / "model.gguf";

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

std::string quoted(const fs::path& path) {
  return fmt::format("'{}'", path.string());
}

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-cli-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // `before` goes in front of the tool's name, `after` behind it, both as the
  // shell reads them.
  Outcome run(const std::string& after, const std::string& before = "") const {
    const fs::path out = folder_ / "out";
    const fs::path err = folder_ / "err";
    const std::string command =
        fmt::format("{} '" CARAT_TOOL "' {} >{} 2>{}", before, after,
                    quoted(out), quoted(err));
    const int status = std::system(command.c_str());
    Outcome outcome;
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.out = read_whole(out);
    outcome.err = read_whole(err);
    return outcome;
  }

  void expect_line(const std::string& after, int exit_code,
                   const std::string& part,
                   const std::string& before = "</dev/null") const {
    SCOPED_TRACE(after);
    const Outcome outcome = run(after, before);
    EXPECT_EQ(outcome.exit_code, exit_code);
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
        << outcome.err;
  }

  fs::path folder_;
};

class CliModelTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    if (!fs::exists(kModel)) GTEST_SKIP() << kModel << " is not there";
  }
  static std::string model_flag() { return " --model " + quoted(kModel); }
};

TEST_F(CliTest, HelpIsPrintedEverywhere) {
  for (const char* flags : {"", "--help", "help"}) {
    const Outcome outcome = run(flags);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_NE(outcome.out.find("Usage: carat COMMAND"), std::string::npos);
    EXPECT_EQ(outcome.err, "");
  }
  for (const std::string command :
       {"generate", "tokenize", "detokenize", "inspect", "logits", "perplexity",
        "bench", "synthesize", "pull", "quantize"}) {
    SCOPED_TRACE(command);
    const Outcome outcome = run(command + " --help");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_NE(outcome.out.find("Usage: carat " + command), std::string::npos);
    EXPECT_NE(outcome.out.find("Examples:\n  "), std::string::npos);
    EXPECT_EQ(run("help " + command).out, outcome.out);
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 80U) << line;
    }
  }
  EXPECT_TRUE(run("--version").out.starts_with("carat "));
}

TEST_F(CliTest, UsageErrorsAreOneLineAndCode2) {
  expect_line("sing", 2, "unknown command 'sing'");
  expect_line("--loud", 2, "unknown flag '--loud'");
  expect_line("help sing", 2, "unknown command 'sing'");
  expect_line("generate --loud x", 2, "unknown flag '--loud'");
  expect_line("generate x y", 2, "unexpected argument 'y'");
  expect_line("generate x --threads abc", 2, "--threads: 'abc' is not a whole");
  expect_line("generate x --threads=-1", 2, "--threads: '-1' is not a whole");
  expect_line("generate x --max-tokens 0", 2, "--max-tokens: '0'");
  expect_line("generate x --max-tokens 99999999999999999999", 2,
              "--max-tokens: '99999999999999999999'");
  expect_line("generate x --seed -1", 2, "--seed: '-1'");
  expect_line("generate x --temperature nan", 2, "--temperature: 'nan'");
  expect_line("generate x --temperature -0.1", 2, "--temperature: '-0.1'");
  expect_line("generate x --top-p 0", 2, "--top-p: '0'");
  expect_line("generate x --min-p 1.5", 2, "--min-p: '1.5'");
  expect_line("generate x --repeat-penalty 0", 2, "--repeat-penalty: '0'");
  expect_line("generate x --chunk 0", 2, "--chunk: '0' is neither 'auto'");
  expect_line("generate x --prefill half", 2, "--prefill: half");
  expect_line("generate x --backend gpu", 2, "--backend: gpu");
  expect_line("generate x --device -1", 2, "--device: '-1' is not");
  expect_line("generate x --isa sse", 2, "--isa: sse");
  expect_line("generate x --stop ''", 2, "--stop: the text must not be empty");
  expect_line("generate x --stop", 2, "--stop");
  expect_line("generate x --tokens 2", 2, "only one of a text");
  expect_line("generate --tokens 2,x", 2, "--tokens: 'x'");
  expect_line("generate --tokens 2,-1", 2, "--tokens: '-1'");
  expect_line("generate --tokens 9999999999", 2, "--tokens: 9999999999");
  expect_line("bench --modes half", 2, "--modes: 'half'");
  expect_line("bench --chunks 64,0", 2, "--chunks: '0'");
  expect_line("bench --shape gemma3-2b", 2, "--shape: gemma3-2b");
  expect_line("bench --shape gemma3-1b --model m", 2, "only one of --model");
  expect_line("synthesize --shape gemma3-1b", 2, "path is required");
  expect_line("synthesize out.gguf", 2, "--shape is required");
  expect_line("synthesize --shape gemma3-1b --encoding q9 out.gguf", 2,
              "--encoding: q9");
  expect_line("detokenize 1,b", 2, "ids: 'b'");
}

TEST_F(CliTest, MissingFilesAreOneLineAndCode1) {
  expect_line("generate x --model /nowhere/m.gguf", 1, "/nowhere/m.gguf");
  expect_line("inspect /nowhere/m.gguf", 1, "/nowhere/m.gguf");
  expect_line("tokenize x --model /nowhere/t.json", 1, "/nowhere/t.json");
  expect_line("perplexity /nowhere/text.txt", 1, "/nowhere/text.txt");
  expect_line("generate --prompt-file /nowhere/p.txt", 1, "/nowhere/p.txt");
  expect_line("synthesize --shape gemma3-270m /nowhere/m.gguf", 1,
              "/nowhere/m.gguf");
  expect_line("generate x", 1, "/nowhere/carat/gemma-3-270m-q4_k_m.gguf",
              "XDG_CACHE_HOME=/nowhere");
  expect_line("generate x", 1, "/nowhere/.cache/carat/gemma-3-270m",
              "HOME=/nowhere XDG_CACHE_HOME=relative");
}

TEST_F(CliTest, BrokenFilesAreOneLineAndCode1) {
  const fs::path broken = fs::path(CARAT_SHARED_DATA) / "malformed-inputs";
  if (!fs::exists(broken)) GTEST_SKIP() << broken << " is not there";
  for (const char* name : {"empty-file", "wrong-magic", "truncated-in-kv",
                           "tensor-offset-beyond-file", "tensor-count-2e63"}) {
    const fs::path file =
        broken / "gguf" / (std::string("gguf-") + name + ".gguf");
    expect_line("inspect " + quoted(file), 1, file.filename().string());
    expect_line("generate --tokens 2 --model " + quoted(file), 1,
                file.filename().string());
  }
  for (const char* name : {"config-missing", "st-offsets-overlap",
                           "index-path-traversal", "model-missing-up-proj"}) {
    const fs::path folder = broken / "hf" / name;
    expect_line("inspect " + quoted(folder), 1, name);
    expect_line("logits --tokens 2 --model " + quoted(folder), 1, name);
  }
}

TEST_F(CliTest, FoldersAreMadeAndRun) {
  const fs::path model = folder_ / "m";
  ASSERT_EQ(
      run("synthesize --shape gemma3-270m --encoding mlx4 " + quoted(model))
          .exit_code,
      0);
  expect_line("synthesize --shape gemma3-270m --encoding mlx4 " + quoted(model),
              1, "is there and not empty");
  const Outcome inspected = run("inspect --json " + quoted(model));
  ASSERT_EQ(inspected.exit_code, 0) << inspected.err;
  const json info = json::parse(inspected.out);
  EXPECT_EQ(info["format"], "MLX safetensors");
  EXPECT_EQ(info["parameters"], 268098176);
  EXPECT_EQ(info["encodings"]["MLX4"]["tensors"], 127);
  EXPECT_GT(info["file_bytes"], 150000000);
  const Outcome generated = run(
      "generate --tokens 2,5,6 --max-tokens 2 --ignore-eos --json --model " +
      quoted(model));
  ASSERT_EQ(generated.exit_code, 0) << generated.err;
  EXPECT_EQ(json::parse(generated.out)["generated_ids"].size(), 2U);
  expect_line("generate x --model " + quoted(model), 1, "tokenizer.json");
}

TEST_F(CliModelTest, GenerateJsonIsOneObject) {
  const Outcome outcome =
      run("generate --tokens 2,5,6 --max-tokens 8 --ignore-eos --json" +
          model_flag());
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const json value = json::parse(outcome.out);
  EXPECT_EQ(value["prompt_ids"], json({2, 5, 6}));
  EXPECT_EQ(value["generated_ids"].size(), 8U);
  EXPECT_EQ(value["finish_reason"], "max_tokens");
  EXPECT_EQ(value["first_logits_sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(value["stats"]["prompt_tokens"], 3);
  EXPECT_GT(value["stats"]["peak_memory_bytes"], 0);
}

TEST_F(CliModelTest, StreamedTextIsTheJsonText) {
  const std::string flags =
      "generate --tokens 2,5,6 --max-tokens 40 --ignore-eos" + model_flag();
  const Outcome streamed = run(flags);
  ASSERT_EQ(streamed.exit_code, 0) << streamed.err;
  EXPECT_NE(streamed.err.find("tok/s"), std::string::npos);
  const json value = json::parse(run(flags + " --json").out);
  EXPECT_EQ(streamed.out, value["text"].get<std::string>() + "\n");
}

TEST_F(CliModelTest, OfAFlagGivenTwiceTheLastCounts) {
  const Outcome outcome =
      run("generate --tokens 2,5,6 --max-tokens 8 --max-tokens 3 --ignore-eos "
          "--json" +
          model_flag());
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)["generated_ids"].size(), 3U);
}

TEST_F(CliModelTest, EveryStopCounts) {
  const std::string flags =
      "generate --tokens 2,5,6 --max-tokens 40 --ignore-eos --json" +
      model_flag();
  const json whole = json::parse(run(flags).out);
  const std::string text = whole["text"];
  ASSERT_GT(text.size(), 8U);
  const std::string first = text.substr(2, 2);
  for (const std::string& stops :
       {fmt::format("--stop '{}' --stop never", first),
        fmt::format("--stop never --stop '{}'", first)}) {
    SCOPED_TRACE(stops);
    const json value = json::parse(run(flags + " " + stops).out);
    EXPECT_EQ(value["finish_reason"], "stop");
    EXPECT_EQ(value["text"], text.substr(0, text.find(first)));
  }
}

TEST_F(CliModelTest, ChunkAndModeDoNotChangeTheAnswer) {
  std::string ids = "2";
  for (int i = 1; i < 100; ++i) ids += fmt::format(",{}", 3 + i * 37 % 390);
  const std::string flags =
      "generate --max-tokens 16 --json --tokens " + ids + model_flag();
  const json expected = json::parse(run(flags).out);
  for (const char* more : {" --chunk 1", " --chunk 7", " --prefill full",
                           " --threads 1", " --isa portable"}) {
    SCOPED_TRACE(more);
    const json value = json::parse(run(flags + more).out);
    EXPECT_EQ(value["generated_ids"], expected["generated_ids"]);
    EXPECT_EQ(value["first_logits_sha256"], expected["first_logits_sha256"]);
  }
}

TEST_F(CliModelTest, AnEmptyPromptIsBosOrAnError) {
  const Outcome outcome =
      run("generate '' --max-tokens 2 --json" + model_flag());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.err.find("BOS"), std::string::npos);
  EXPECT_EQ(json::parse(outcome.out)["prompt_ids"], json({2}));
  expect_line("generate '' --no-bos" + model_flag(), 1, "prompt is empty");
  expect_line("generate --tokens ''" + model_flag(), 1, "prompt is empty");
}

TEST_F(CliModelTest, WhatTheModelRefusesIsOneLineAndCode1) {
  expect_line("generate --tokens 2,400" + model_flag(), 1, "400");
  expect_line("generate --tokens 2 --context 99999" + model_flag(), 1, "99999");
  expect_line("generate --tokens 2,3,4 --context 2" + model_flag(), 1, "2");
  expect_line("perplexity --tokens 2" + model_flag(), 1, "single token");
}

TEST_F(CliModelTest, AFailingStandardOutputIsAnError) {
  const std::string flags = "generate --tokens 2,5,6 --max-tokens 8";
  std::ofstream script(folder_ / "full.sh");
  script << "'" CARAT_TOOL "' " << flags << model_flag() << " >/dev/full\n";
  script.close();
  const std::string command =
      fmt::format("sh {} 2>/dev/null", quoted(folder_ / "full.sh"));
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

// --foreground: else timeout signals its process group too, and the second
// signal may kill.
TEST_F(CliModelTest, CtrlCStopsWithCode130) {
  const Outcome outcome =
      run("bench --repeat 10000" + model_flag() + " --prompt-tokens 64",
          "timeout --foreground --preserve-status -s INT 2");
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_EQ(outcome.err, "carat: interrupted\n");
}

TEST_F(CliModelTest, TokenizeAndDetokenizeKeepEveryByte) {
  const std::string bytes = "a\xff\xc3\nb\t\xe2\x82\xac";
  std::ofstream(folder_ / "text", std::ios::binary) << bytes;
  const std::string text = quoted(folder_ / "text");
  const Outcome ids = run("tokenize --no-bos --file " + text + model_flag());
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(
      run("tokenize --no-bos" + model_flag(), fmt::format("cat {} |", text))
          .out,
      ids.out);
  std::ofstream(folder_ / "ids") << ids.out;
  const std::string feed = fmt::format("cat {} |", quoted(folder_ / "ids"));
  EXPECT_EQ(run("detokenize" + model_flag(), feed).out, bytes);
  const json value =
      json::parse(run("detokenize --json" + model_flag(), feed).out);
  EXPECT_NE(value["text"].get<std::string>().find("\xef\xbf\xbd"),
            std::string::npos);
  const json full =
      json::parse(run("tokenize --json --pieces ab" + model_flag()).out);
  EXPECT_EQ(full["ids"].size(), full["pieces"].size());
  EXPECT_EQ(full["ids"][0], 2);
}

TEST_F(CliModelTest, InspectAgreesWithTheFile) {
  const json value = json::parse(
      run("inspect --json --tensors --context 100 --chunk 7 " + quoted(kModel))
          .out);
  EXPECT_EQ(value["file_bytes"], fs::file_size(kModel));
  EXPECT_EQ(value["config"]["layers"].size(), 6U);
  EXPECT_EQ(value["plan"]["context_tokens"], 100);
  EXPECT_EQ(value["plan"]["chunk_tokens"], 7);
  int64_t tensors = 0;
  for (const auto& count : value["encodings"]) {
    tensors += count["tensors"].get<int64_t>();
  }
  EXPECT_EQ(value["tensors"].size(), static_cast<size_t>(tensors));
  const Outcome text = run("inspect" + model_flag());
  EXPECT_NE(text.out.find("L L L L L G\n"), std::string::npos) << text.out;
}

TEST_F(CliModelTest, LogitsOfAllPositionsEndWithThoseOfTheLast) {
  const fs::path all = folder_ / "all.npy";
  const fs::path full = folder_ / "full.npy";
  const fs::path last = folder_ / "last.npy";
  const std::string flags = "logits --tokens 2,5,6,7" + model_flag();
  ASSERT_EQ(run(flags + " --all --chunk 3 --out " + quoted(all)).exit_code, 0);
  ASSERT_EQ(
      run(flags + " --all --prefill full --out " + quoted(full)).exit_code, 0);
  ASSERT_EQ(run(flags + " --out " + quoted(last)).exit_code, 0);
  const std::string all_bytes = read_whole(all);
  const std::string last_bytes = read_whole(last);
  constexpr size_t kRowBytes = 400 * sizeof(float);
  ASSERT_EQ(all_bytes.size() % 64, (4 * kRowBytes) % 64);
  ASSERT_GT(last_bytes.size(), kRowBytes);
  EXPECT_EQ(all_bytes, read_whole(full));
  EXPECT_EQ(all_bytes.substr(all_bytes.size() - kRowBytes),
            last_bytes.substr(last_bytes.size() - kRowBytes));
  expect_line(flags + " --out /nowhere/x.npy", 1, "/nowhere/x.npy");
}

TEST_F(CliModelTest, PerplexityIsTheMeanOfItsTokens) {
  const json value =
      json::parse(run("perplexity --json --tokens 2,5,6,7" + model_flag()).out);
  ASSERT_EQ(value["nll"].size(), 3U);
  double total = 0;
  for (const double nll : value["nll"]) total += nll;
  EXPECT_DOUBLE_EQ(value["nll_mean"].get<double>(), total / 3);
  EXPECT_DOUBLE_EQ(value["perplexity"].get<double>(), std::exp(total / 3));
}

TEST_F(CliModelTest, BenchWritesTablesJsonAndPicture) {
  const fs::path figures = folder_ / "bench.json";
  const fs::path plot = folder_ / "sweep.svg";
  const Outcome outcome =
      run("bench --prompt-tokens 20,50 --sweep-tokens 50 --chunks 8,16 "
          "--repeat 2 --decode-tokens 3 --json " +
          quoted(figures) + " --plot " + quoted(plot) + model_flag());
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("before and after"), std::string::npos);
  EXPECT_NE(outcome.out.find("Chunk sweep"), std::string::npos);
  const json value = json::parse(read_whole(figures));
  EXPECT_EQ(value["prefill"].size(), 2U + 2U + 2U);
  EXPECT_EQ(value["decode"].size(), 2U);
  EXPECT_GT(value["machine"]["integer_gmacs"], 0);
  for (const json& row : value["prefill"]) EXPECT_EQ(row["ms"].size(), 2U);
  EXPECT_TRUE(read_whole(plot).starts_with("<svg "));
}

TEST_F(CliModelTest, BenchTakesItsPromptFromAFile) {
  std::ofstream(folder_ / "ids") << "2,5,6,7\n";
  const std::string flags =
      "bench --modes chunked --repeat 1 --decode-tokens 0 --tokens-file " +
      quoted(folder_ / "ids") + model_flag();
  EXPECT_EQ(run(flags + " --prompt-tokens 3,4").exit_code, 0);
  expect_line(flags + " --prompt-tokens 5", 2, "4 ids are too few");
}

TEST_F(CliTest, ASynthesizedModelRunsAndBenchCleansUp) {
  const fs::path model = folder_ / "m.gguf";
  const Outcome written =
      run("synthesize --shape gemma3-270m --encoding q4_k " + quoted(model));
  ASSERT_EQ(written.exit_code, 0) << written.err;
  const Outcome generated = run(
      "generate --tokens 2,5,6 --max-tokens 3 --ignore-eos --json --model " +
      quoted(model));
  ASSERT_EQ(generated.exit_code, 0) << generated.err;
  EXPECT_EQ(json::parse(generated.out)["generated_ids"].size(), 3U);
  const fs::path temporary = folder_ / "temporary";
  fs::create_directory(temporary);
  const Outcome bench = run(
      "bench --shape gemma3-270m --encoding q8_0 --modes chunked --repeat 1 "
      "--prompt-tokens 8 --chunks 8 --decode-tokens 1 --json",
      "TMPDIR=" + quoted(temporary));
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_EQ(json::parse(bench.out)["prefill"].size(), 2U);
  EXPECT_TRUE(fs::is_empty(temporary));
}

}  // namespace
}  // namespace carat
