// carat quantize and carat perplexity --reference, as a user runs them; kills
// at random moments. CARAT_KILL_ROUNDS asks for more of these.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace carat {
namespace {

namespace fs = std::filesystem;

class QuantizeCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kModel)) GTEST_SKIP() << kModel << " is not there";
    std::string pattern = fs::temp_directory_path() / "carat-qcli-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  static pid_t start(std::vector<std::string> arguments,
                     const fs::path& out = "/dev/null") {
    arguments.insert(arguments.begin(), CARAT_TOOL);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string path = out;
    const pid_t child = fork();
    if (child == 0) {
      if (std::freopen(path.c_str(), "w", stdout) == nullptr ||
          std::freopen("/dev/null", "w", stderr) == nullptr) {
        _exit(126);
      }
      execv(argv[0], argv.data());
      _exit(127);
    }
    return child;
  }
  static int finish(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  inline static const fs::path kModel = fs::path(CARAT_SHARED_DATA) /
                                        "tiny-gguf" / "gemma3-q4_k_m" /
                                        "model.gguf";
  fs::path folder_;
};

TEST_F(QuantizeCommandTest, WritesAndCompares) {
  const std::string out = folder_ / "out.gguf";
  const std::vector<std::string> command = {"quantize", kModel, out, "--type",
                                            "q8_0"};
  EXPECT_EQ(finish(start(command)), 0);
  EXPECT_EQ(finish(start(command)), 1);
  std::vector<std::string> forced = command;
  forced.push_back("--force");
  EXPECT_EQ(finish(start(forced)), 0);
  const fs::path text = folder_ / "json";
  EXPECT_EQ(finish(start({"perplexity", "--tokens", "2,17,300,41,5,99",
                          "--json", "--model", out, "--reference", kModel},
                         text)),
            0);
  const auto json = nlohmann::json::parse(read(text));
  EXPECT_EQ(json.at("predicted_tokens"), 5);
  EXPECT_GT(json.at("kl_mean").get<double>(), 0);
  EXPECT_LT(json.at("kl_mean").get<double>(), 0.1);
  EXPECT_GE(json.at("kl_max"), json.at("kl_p99"));
  EXPECT_LE(json.at("same_top"), 1);
  EXPECT_EQ(json.at("kl").size(), 5u);
  // A model is no different from itself.
  EXPECT_EQ(finish(start({"perplexity", "--tokens", "2,17,300", "--json",
                          "--model", kModel, "--reference", kModel},
                         text)),
            0);
  EXPECT_LT(nlohmann::json::parse(read(text)).at("kl_max").get<double>(),
            1e-12);
}

// Whatever the moment, the target is absent, the old one or the new one.
TEST_F(QuantizeCommandTest, KillsLeaveTheOldOrTheNewOne) {
  const char* asked = std::getenv("CARAT_KILL_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 24;
  std::mt19937 random(5);
  struct Target {
    std::string name, type, file;
    std::string old_text, new_text;
  };
  std::vector<Target> targets = {
      {"out.gguf", "q8_0", "", "", ""},
      {"out-mlx", "mlx4", "model.safetensors", "", ""}};
  const auto file_of = [&](const Target& target) {
    return target.file.empty() ? folder_ / target.name
                               : folder_ / target.name / target.file;
  };
  const auto command = [&](const Target& target, const std::string& type) {
    return std::vector<std::string>{"quantize", kModel, folder_ / target.name,
                                    "--type",   type,   "--force"};
  };
  std::chrono::microseconds whole{0};
  for (Target& target : targets) {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(finish(start(command(target, target.type))), 0);
    whole =
        std::max(whole, std::chrono::duration_cast<std::chrono::microseconds>(
                            std::chrono::steady_clock::now() - begin));
    target.new_text = read(file_of(target));
    const std::string other = target.file.empty() ? "q4_0" : "mlx8";
    ASSERT_EQ(finish(start(command(target, other))), 0);
    target.old_text = read(file_of(target));
    ASSERT_NE(target.old_text, target.new_text);
  }
  int killed = 0;
  for (int round = 0; round < rounds; ++round) {
    Target& target = targets[static_cast<size_t>(round) % targets.size()];
    const bool absent = round % 3 == 0;
    if (absent) {
      fs::remove_all(folder_ / target.name);
    } else if (read(file_of(target)) != target.old_text) {
      const std::string other = target.file.empty() ? "q4_0" : "mlx8";
      ASSERT_EQ(finish(start(command(target, other))), 0);
    }
    const pid_t child = start(command(target, target.type));
    std::this_thread::sleep_for(std::chrono::microseconds(
        random() % static_cast<unsigned>(whole.count() * 5 / 4)));
    kill(child, SIGKILL);
    killed += finish(child) == -SIGKILL ? 1 : 0;
    const fs::path file = file_of(target);
    if (!fs::exists(file)) {
      EXPECT_TRUE(absent) << "round " << round;
      EXPECT_FALSE(fs::exists(folder_ / target.name));
    } else {
      const std::string text = read(file);
      EXPECT_TRUE(text == target.new_text ||
                  (!absent && text == target.old_text))
          << "round " << round << ": " << text.size() << " bytes";
    }
    // The next run completes it.
    if (round % 5 == 0) {
      ASSERT_EQ(finish(start(command(target, target.type))), 0);
      EXPECT_EQ(read(file), target.new_text);
    } else if (!fs::exists(file)) {
      ASSERT_EQ(finish(start(command(target, target.type))), 0);
    }
  }
  EXPECT_GT(killed, rounds / 4);
  // Nothing lies about but what the last kills left.
  for (const Target& target : targets) {
    ASSERT_EQ(finish(start(command(target, target.type))), 0);
  }
  EXPECT_EQ(
      std::distance(fs::directory_iterator(folder_), fs::directory_iterator()),
      2);
}

}  // namespace
}  // namespace carat
