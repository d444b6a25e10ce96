// carat pull against hub_server.py on loopback: a hub and a CDN that cut, lie
// and refuse; and kill -9 at random points.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
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
using nlohmann::json;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class PullTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' 2>/dev/null") != 0) {
      GTEST_SKIP() << "python3 is not there";
    }
    std::string pattern = fs::temp_directory_path() / "carat-pull-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    server_ = start({"/usr/bin/env", "python3", CARAT_HUB_SERVER, folder_},
                    "server.");
    for (int i = 0; i < 500 && !fs::exists(folder_ / "port"); ++i) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    ASSERT_TRUE(fs::exists(folder_ / "port"));
    endpoint_ = "http://127.0.0.1:" + read_whole(folder_ / "port");
  }
  void TearDown() override {
    if (server_ > 0) {
      kill(server_, SIGKILL);
      waitpid(server_, nullptr, 0);
    }
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  // Output goes to the folder's out and err; a process that outlives the next
  // one has a prefix of its own.
  pid_t start(const std::vector<std::string>& arguments,
              const std::string& prefix = {}) const {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const std::string out = folder_ / (prefix + "out");
    const std::string err = folder_ / (prefix + "err");
    const pid_t child = fork();
    if (child != 0) return child;
    for (const auto& [path, number] :
         {std::pair(out, STDOUT_FILENO), std::pair(err, STDERR_FILENO)}) {
      dup2(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), number);
    }
    setenv("HF_ENDPOINT", endpoint_.c_str(), 1);
    setenv("HF_HOME", (folder_ / "home").c_str(), 1);
    setenv("HF_TOKEN", "secret", 1);
    for (const char* name :
         {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE",
          "http_proxy", "all_proxy", "ALL_PROXY"}) {
      unsetenv(name);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }

  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), CARAT_TOOL);
    int status = 0;
    waitpid(start(arguments), &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            read_whole(folder_ / "out"), read_whole(folder_ / "err")};
  }

  fs::path repo(const std::string& org) const {
    return folder_ / "home" / "hub" / ("models--" + org + "--m");
  }

  // Every file is a link to a blob of its length, and the ref names the commit.
  void expect_complete(const std::string& org) const {
    const fs::path snapshot = repo(org) / "snapshots" / kCommit;
    EXPECT_EQ(read_whole(repo(org) / "refs" / "main"), kCommit);
    EXPECT_EQ(fs::file_size(snapshot / "model.safetensors"),
              6U * (1 << 20) + 12345);
    EXPECT_EQ(fs::file_size(snapshot / "tokenizer.json"), 1000U);
    EXPECT_FALSE(fs::exists(snapshot / "README.md"));
    for (const auto& file : fs::directory_iterator(snapshot)) {
      ASSERT_TRUE(file.is_symlink());
      EXPECT_TRUE(fs::read_symlink(file).string().starts_with("../../blobs/"));
    }
    for (const auto& blob : fs::directory_iterator(repo(org) / "blobs")) {
      EXPECT_TRUE(blob.path().extension().empty()) << blob.path();
    }
    const std::string sum =
        "sha256sum '" + (snapshot / "model.safetensors").string() +
        "' | grep -q '^" +
        fs::read_symlink(snapshot / "model.safetensors").filename().string() +
        " '";
    EXPECT_EQ(std::system(sum.c_str()), 0);
  }

  fs::path folder_;
  std::string endpoint_;
  pid_t server_ = -1;
};

TEST_F(PullTest, AModelComesOnceAndTheTokenStaysAtTheHub) {
  const Outcome first = run({"pull", "good/m", "--json"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const json value = json::parse(first.out);
  EXPECT_EQ(value["commit"], kCommit);
  EXPECT_EQ(value["files"].size(), 3U);
  EXPECT_EQ(value["received_bytes"], value["bytes"]);
  expect_complete("good");
  const Outcome again = run({"pull", "good/m", "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(json::parse(again.out)["received_bytes"], 0);
  const std::string log = read_whole(folder_ / "log");
  EXPECT_NE(log.find("hub Bearer secret\n"), std::string::npos);
  EXPECT_NE(log.find("cdn None\n"), std::string::npos);
  EXPECT_EQ(log.find("cdn Bearer"), std::string::npos);
}

TEST_F(PullTest, TheCacheIsUsedWithoutTheNetwork) {
  ASSERT_EQ(run({"pull", "good/m"}).exit_code, 0);
  kill(server_, SIGKILL);
  waitpid(server_, nullptr, 0);
  server_ = -1;
  const Outcome outcome = run({"inspect", "--model", "good/m"});
  EXPECT_NE(outcome.err.find(kCommit), std::string::npos) << outcome.err;
  const Outcome absent = run({"inspect", "--model", "other/m"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.err.find("carat pull other/m"), std::string::npos);
}

TEST_F(PullTest, CutsAndIgnoredRangesAreSurvived) {
  for (const std::string org : {"cut", "ignore"}) {
    const Outcome outcome = run({"pull", org + "/m"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    expect_complete(org);
  }
}

TEST_F(PullTest, LiesAndRefusalsAreClearErrors) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"corrupt", "has the hash"},     {"long", "the range"},
      {"short", "the range"},          {"loop", "redirects in circles"},
      {"gated", "is gated"},           {"denied", "does not accept"},
      {"absent", "has no such model"}, {"evil", "no file of a folder"},
  };
  for (const auto& [org, words] : cases) {
    SCOPED_TRACE(org);
    const Outcome outcome = run({"pull", org + "/m"});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(repo(org) / "snapshots" / kCommit));
  }
  EXPECT_EQ(run({"pull", "../m"}).exit_code, 2);
  EXPECT_EQ(run({"pull", "a/b/c"}).exit_code, 2);
}

TEST_F(PullTest, ASecondProcessWaitsForTheFirst) {
  const pid_t first = start({CARAT_TOOL, "pull", "good/m"});
  const Outcome second = run({"pull", "good/m"});
  int status = 0;
  waitpid(first, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  expect_complete("good");
}

// CARAT_KILL_ROUNDS: how many; 20 without it.
TEST_F(PullTest, KilledAnywhereItIsAbsentOrCompleteAndTheNextRunCompletes) {
  const char* wanted = std::getenv("CARAT_KILL_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 20;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run({"pull", "good/m"}).exit_code, 0);
  const auto usual = std::chrono::duration_cast<microseconds>(
      std::chrono::steady_clock::now() - begin);
  std::mt19937 random(7);
  int killed = 0;
  int saved = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    fs::remove_all(folder_ / "home");
    const pid_t child = start({CARAT_TOOL, "pull", "good/m"});
    std::this_thread::sleep_for(microseconds(
        std::uniform_int_distribution<int64_t>(0, usual.count())(random)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status) ? 1 : 0;
    if (fs::exists(repo("good") / "refs" / "main")) expect_complete("good");
    const Outcome next = run({"pull", "good/m", "--json"});
    ASSERT_EQ(next.exit_code, 0) << next.err;
    expect_complete("good");
    const json value = json::parse(next.out);
    saved += value["received_bytes"] < value["bytes"] ? 1 : 0;
  }
  RecordProperty("went_on", saved);  // from what the killed one left
  EXPECT_GT(saved, 0);
  EXPECT_GT(killed, rounds / 4);
  RecordProperty("killed", killed);
}

}  // namespace
}  // namespace carat
